//! TLS towards Postgres, as strict as `sslmode` asks.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connect::{Error, Verification};

/// What tokio-postgres needs to speak TLS; harmless where the mode asks for none.
pub(super) fn connector(verification: Verification, root: Option<&Path>) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let config = match verification {
        Verification::Disable | Verification::Prefer | Verification::Require => {
            let verifier = Lenient { provider, chain: None };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Verification::VerifyCa => {
            let chain =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots(root)?), Arc::clone(&provider))
                    .build()
                    .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
            let verifier = Lenient { provider, chain: Some(chain) };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Verification::VerifyFull => builder.with_root_certificates(roots(root)?),
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

/// The certificates in `path`, else those that browsers trust (the replication stream uses the same).
fn roots(path: Option<&Path>) -> Result<RootCertStore, Error> {
    let Some(path) = path else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let unreadable = |source| Error::RootCertificates { path: path.to_owned(), source };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        store.add(certificate.map_err(unreadable)?).map_err(Error::Tls)?;
    }
    if store.is_empty() {
        return Err(unreadable(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(store)
}

/// The modes that do not ask who answers, or not by name. The handshake's own signatures are checked in both,
/// so the key belongs to the certificate shown.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// `sslmode=verify-ca`: the chain must hold, the name may be any. `None` is `sslmode=require`: secrecy against
    /// listeners, no proof of who answers.
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last, so the chain was found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
