//! What the environment says of the way out: whom to trust, and through which proxy.

use crate::fault::{Exit, Fault, FaultContext as _};
use crate::host::environment::Environment;

/// `SSL_CERT_FILE`, else the system's bundle, else Mozilla's.
pub(super) fn roots(environment: &Environment) -> anyhow::Result<ureq::tls::RootCerts> {
    const BUNDLES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let pem = match environment.get("SSL_CERT_FILE") {
        Some(path) => {
            let message = format!("could not read `{path}`, which SSL_CERT_FILE names");
            std::fs::read(path).fault(Exit::Machine, message)?
        }
        None => match BUNDLES.iter().find_map(|path| std::fs::read(path).ok()) {
            Some(pem) => pem,
            None => return Ok(ureq::tls::RootCerts::WebPki),
        },
    };
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Fault::new(Exit::Machine, "the file of trusted certificates holds none")
            .hint("SSL_CERT_FILE names a file of certificates in PEM form")
            .into());
    }
    Ok(certificates.into())
}

/// The proxy for what is not loopback, by the usual variables.
pub(super) fn proxy(environment: &Environment) -> Result<Option<ureq::Proxy>, String> {
    let named = |names: &[&str]| names.iter().find_map(|name| environment.get(name));
    let found = named(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"]);
    let Some(text) = found else { return Ok(None) };
    let wrong = |_| "the proxy that the environment names is no URL of a proxy".to_owned();
    let parsed = ureq::Proxy::new(text).map_err(wrong)?;
    let mut builder = ureq::Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let (Some(user), Some(password)) = (parsed.username(), parsed.password()) {
        builder = builder.username(user).password(password);
    }
    for expression in named(&["NO_PROXY", "no_proxy"]).unwrap_or_default().split(',') {
        if !expression.trim().is_empty() {
            builder = builder.no_proxy(expression.trim());
        }
    }
    builder.build().map(Some).map_err(wrong)
}
