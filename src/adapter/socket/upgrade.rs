//! From an app's request for a WebSocket to its socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, Uri};
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tungstenite::handshake::server::create_response_with_body;

use super::run::run;
use super::wire::Wire;
use super::{Limits, Protocol, SocketApp};
use crate::adapter::{Asker, Error, Services, request};
use crate::socket::upgrade::upgraded;

/// Whose socket it is.
#[derive(Clone)]
pub struct Opening {
    /// Who.
    pub asker: Asker,
    /// The token it came with.
    pub token: Arc<str>,
}

/// The token of a request for a socket: of `Authorization`, or else of the query.
pub fn token(headers: &HeaderMap, uri: &Uri) -> Result<String, Error> {
    match request::bearer(headers)? {
        Some(token) => Ok(token),
        None => request::query(uri).remove("token").filter(|token| !token.is_empty()).ok_or(Error::NoToken),
    }
}

/// Checks a request for a socket and, if it passes, answers it and begins.
pub fn upgrade<P: Protocol>(
    services: &Arc<Services>,
    app: &'static SocketApp,
    mut request: Request,
    protocol: impl FnOnce(&Opening) -> P,
) -> Result<Response<Body>, Error> {
    if request.method() != Method::GET {
        return Err(Error::Method);
    }
    let token = token(request.headers(), request.uri())?;
    let opening = Opening { asker: services.asker_of(&token)?, token: token.into() };
    let response = create_response_with_body(&request, Body::empty).map_err(|_| Error::NoUpgrade)?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(Error::NoUpgrade)?;
    let place = services.sockets.take().ok_or(Error::Full)?;
    let (services, protocol) = (Arc::clone(services), protocol(&opening));
    tokio::spawn(async move {
        if let Some((stream, read)) = upgraded(upgrade).await
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            let Limits { frame_bytes_max, write_within, .. } = app.limits;
            let wire = Wire::new(stream, read, frame_bytes_max * Limits::FRAME_FACTOR, write_within);
            run(&services, app, wire, opening, protocol).await;
        }
        drop(place);
    });
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn the_header_wins_over_the_query() {
        let uri: Uri = "/api/messages/ws?token=q%2Bq&x=1".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(token(&headers, &uri), Ok("q+q".to_owned()));
        assert_eq!(token(&headers, &"/x?token=".parse().unwrap()), Err(Error::NoToken));
        assert_eq!(token(&headers, &"/x".parse().unwrap()), Err(Error::NoToken));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer h"));
        assert_eq!(token(&headers, &uri), Ok("h".to_owned()));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic h"));
        assert_eq!(token(&headers, &uri), Err(Error::NoToken), "even if it is of no use");
    }
}
