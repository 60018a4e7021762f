//! Sessions: refusals that name cause and remedy, and TLS.
