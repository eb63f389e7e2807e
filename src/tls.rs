//! TLS towards servers: rustls over aws-lc-rs, the system's certificate authorities or those of a file, and a
//! certificate of our own where the server asks for one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The files, all PEM. Each is read anew for each connection that is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate authorities to trust; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, and those that lead to its authority.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate.
    pub key_file: Option<PathBuf>,
}

impl TlsFiles {
    /// Those of a client that shows no certificate.
    pub fn trusting(ca_file: Option<PathBuf>) -> Self {
        Self {
            ca_file,
            ..Self::default()
        }
    }
}

/// What is wrong with the files, never with a word of what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Which of [`TlsFiles`].
    pub file: &'static str,
    /// With the path.
    pub why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A client that trusts, and is, what the files say.
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

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            let unusable = |e| format!("{}: {e}", path.display());
            roots.add(certificate).map_err(unusable)?;
        }
    } else {
        // What the system has and rustls cannot read is left out, as every client does.
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
