//! The certificate authorities of the public Internet: built in (feature `roots`), or those of the system.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::RootCertStore;

use crate::limits::CA_BUNDLE;

/// Shared by all who check servers, and gone with the last of them.
static PUBLIC: Mutex<Weak<RootCertStore>> = Mutex::new(Weak::new());

/// The public authorities. Without the feature `roots` they are the file's that `SSL_CERT_FILE` names, else those of the
/// system's bundle: about 110 KiB of RAM for Mozilla's.
///
/// # Errors
/// There is no usable bundle: what is wrong with which file, and the remedy.
pub fn public() -> Result<Arc<RootCertStore>, String> {
    let mut public = PUBLIC.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(roots) = public.upgrade() {
        return Ok(roots);
    }
    let roots = Arc::new(read()?);
    *public = Arc::downgrade(&roots);
    Ok(roots)
}

/// A file of certificates.
///
/// # Errors
/// Those of the file system; `FileTooLarge` above [`CA_BUNDLE`].
pub fn pem_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(CA_BUNDLE + 1).read_to_end(&mut pem)?;
    if pem.len() as u64 > CA_BUNDLE { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(pem) }
}

#[cfg(feature = "roots")]
fn read() -> Result<RootCertStore, String> {
    Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
}

#[cfg(not(feature = "roots"))]
use system::read;

#[cfg(any(not(feature = "roots"), test))]
mod system {
    use std::path::PathBuf;

    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    /// Where systems keep the bundle: OpenWrt, Debian, Yocto and Alpine; Alpine and BSD; Fedora.
    const BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"];

    #[cfg(not(feature = "roots"))]
    pub(super) fn read() -> Result<RootCertStore, String> {
        let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        of_file(named.or_else(|| BUNDLES.map(PathBuf::from).into_iter().find(|path| path.exists())))
    }

    /// The authorities in one file. A certificate that is damaged costs only itself.
    pub(super) fn of_file(path: Option<PathBuf>) -> Result<RootCertStore, String> {
        let Some(path) = path else {
            let bundle = BUNDLES[0];
            return Err(format!(
                "no certificate authorities: {bundle} does not exist; install the package ca-bundle (or \
                 ca-certificates), or name a PEM file in SSL_CERT_FILE or EDGE_GATEWAY_CA_FILE"
            ));
        };
        let failed = |why: String| {
            format!(
                "certificate authorities: {}: {why}; name another PEM file in SSL_CERT_FILE or EDGE_GATEWAY_CA_FILE",
                path.display()
            )
        };
        let pem = crate::roots::pem_file(&path).map_err(|error| failed(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        if roots.is_empty() { Err(failed("no certificate in it".to_owned())) } else { Ok(roots) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bundle_is_an_error_that_names_the_remedy() {
        let error = system::of_file(None).unwrap_err();
        assert!(error.contains("ca-bundle") && error.contains("SSL_CERT_FILE"), "{error}");
    }

    #[test]
    fn a_bundle_that_cannot_be_used_is_named() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("edge-gateway-roots-{}", std::process::id()));
        for (text, part) in [
            ("nonsense".to_owned(), "no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "no certificate in it"),
            ("x".repeat(crate::limits::CA_BUNDLE as usize + 1), "too large"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = system::of_file(Some(path.clone())).unwrap_err();
            assert!(error.contains(part) && error.contains(&*path.to_string_lossy()), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(system::of_file(Some(path)).unwrap_err().contains("No such file"));
    }

    #[test]
    fn one_damaged_certificate_costs_only_itself() {
        let key = rcgen::KeyPair::generate().unwrap();
        let good = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
        let path = std::env::temp_dir().join(format!("edge-gateway-roots-good-{}", std::process::id()));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, format!("# a comment\n{damaged}{good}")).unwrap();
        let roots = system::of_file(Some(path.clone())).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(roots.len(), 1);
    }

    #[cfg(feature = "roots")]
    #[test]
    fn the_built_in_ones_are_shared() {
        let (one, other) = (public().unwrap(), public().unwrap());
        assert!(Arc::ptr_eq(&one, &other) && one.len() > 100);
    }
}
