//! A certificate authority, and certificates that it has signed.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::Scratch;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, in files.
pub struct Certified {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // A certificate whose subject equals its issuer counts as self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Writes the authority's own certificate.
    pub fn write(&self, scratch: &Scratch, name: &str) -> PathBuf {
        scratch.write(name, &self.certificate)
    }

    /// Makes a certificate for a host, in files with this name.
    pub fn certify(&self, scratch: &Scratch, host: &str, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certified {
            cert_file: scratch.write(&format!("{name}.crt"), certificate.pem()),
            key_file: scratch.write(&format!("{name}.key"), key.serialize_pem()),
        }
    }
}
