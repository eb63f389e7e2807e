//! TLS to servers: rustls with aws-lc-rs, the system's certificate authorities or those in a file, and a
//! client certificate if the server requests one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error, InvalidMessage, RootCertStore};

/// The files, all in PEM. Each is read anew for every new connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate authorities to trust; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, and the intermediate ones up to its authority.
    pub cert_file: Option<PathBuf>,
    /// The private key of our certificate.
    pub key_file: Option<PathBuf>,
}

impl TlsFiles {
    /// The files of a client without a certificate.
    pub fn trusting(ca_file: Option<PathBuf>) -> Self {
        Self {
            ca_file,
            ..Self::default()
        }
    }
}

/// What is wrong with the files. Never contains anything of their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The field of [`TlsFiles`].
    pub file: &'static str,
    /// What is wrong, with the path.
    pub why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Makes a client configuration with the authorities and the certificate in the files.
pub fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let of_ca = |why| TlsError {
        file: "ca_file",
        why,
    };
    let roots = roots(files.ca_file.as_deref()).map_err(of_ca)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| of_ca(e.to_string()))?
        .with_root_certificates(roots);
    let config = match (&files.cert_file, &files.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert_file), Some(key_file)) => {
            let certificates = certificates(cert_file).map_err(|why| TlsError {
                file: "cert_file",
                why,
            })?;
            let of_key = |e: &dyn fmt::Display| TlsError {
                file: "key_file",
                why: format!("{}: {e}", key_file.display()),
            };
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|e| of_key(&e))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|e| of_key(&format!("{e} (the certificate is {})", cert_file.display())))?
        }
        (Some(_), None) => {
            let why = "missing: the key of cert_file".to_owned();
            return Err(TlsError {
                file: "key_file",
                why,
            });
        }
        (None, Some(_)) => {
            let why = "missing: the certificate of key_file".to_owned();
            return Err(TlsError {
                file: "cert_file",
                why,
            });
        }
    };
    Ok(Arc::new(config))
}

/// Returns whether a handshake failed because the peer did not speak TLS.
pub fn is_not_spoken(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    matches!(
        error,
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType))
    )
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            let unusable = |e| format!("{}: {e}", path.display());
            roots.add(certificate).map_err(unusable)?;
        }
    } else {
        // System certificates that rustls cannot parse are left out, as every client does.
        let system = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(system.certs);
        if added == 0 {
            return Err("the system has no certificate authorities; name a ca_file".to_owned());
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |e| format!("cannot read {}: {e}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect();
    let certificates = read.map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(certificates)
}
