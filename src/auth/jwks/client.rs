//! HTTP as a client: TLS by the same cryptography as everywhere here, connections that are kept for the next request.
//!
//! Nothing is followed anywhere: a redirect is an answer like any other. Every request has a time limit, and every
//! answer a size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

/// How long a connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A client for `https` and `http`. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why there is no answer to go by. Nothing of an answer is shown.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// There was no answer.
    #[error("no answer")]
    Request(#[source] legacy::Error),
    /// The answer was not 200.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// It broke off.
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
}

/// Trust in the authorities that browsers trust. An error means that the cryptography lacks a version of TLS.
pub fn public_trust() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config =
        ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl HttpClient {
    /// A client that trusts the authorities browsers trust. An error means that the cryptography lacks a version
    /// of TLS.
    pub fn new() -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(public_trust()?).https_or_http();
        Ok(Self::over(connector.enable_http1().build()))
    }

    fn over(connector: HttpsConnector<HttpConnector>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self(client)
    }

    /// The body of a 200 answer of at most `bytes_max`, whole `within` that time.
    pub async fn get(&self, url: &Uri, bytes_max: usize, within: Duration) -> Result<Bytes, HttpError> {
        let answer = tokio::time::timeout(within, self.get_untimed(url, bytes_max));
        answer.await.unwrap_or(Err(HttpError::Timeout(within)))
    }

    async fn get_untimed(&self, url: &Uri, bytes_max: usize) -> Result<Bytes, HttpError> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, hyper::header::HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, hyper::header::HeaderValue::from_static(env!("CARGO_PKG_NAME")));
        let response = self.0.request(request).await.map_err(HttpError::Request)?;
        if response.status() != StatusCode::OK {
            return Err(HttpError::Status(response.status()));
        }
        match Limited::new(response.into_body(), bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong(bytes_max)),
            Err(error) => Err(HttpError::Body(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper_rustls::FixedServerNameResolver;
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);
    const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls");

    fn certificate(name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(format!("{TLS}/{name}")).unwrap()
    }

    /// A server for `db.test` that answers every request alike.
    async fn server() -> Uri {
        let key = PrivateKeyDer::from_pem_file(format!("{TLS}/server.key")).unwrap();
        let config =
            ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate("server.pem")], key)
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust it goes away here.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        });
        url
    }

    /// A client that trusts the authority of the tests and takes whoever answers for `name`.
    fn client(name: &'static str) -> HttpClient {
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let config =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = FixedServerNameResolver::new(ServerName::try_from(name).unwrap());
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        HttpClient::over(connector.with_server_name_resolver(name).enable_http1().build())
    }

    #[tokio::test]
    async fn a_server_is_believed_by_its_certificate_alone() {
        let url = server().await;
        assert_eq!(client("db.test").get(&url, 10, WITHIN).await.unwrap(), "ok");
        for stranger in [client("other.test"), HttpClient::new().unwrap()] {
            assert!(matches!(stranger.get(&url, 10, WITHIN).await, Err(HttpError::Request(_))));
        }
    }
}
