//! The composition root: builds every stage and joins them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use crate::config::Settings;

/// Why a server did not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Serves until `shutdown` resolves; calls `ready` with the bound address once clients may connect.
pub async fn run(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let address = settings.listen;
    let listen = |source| Error::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
    ready(listener.local_addr().map_err(listen)?);
    shutdown.await;
    Ok(())
}
