use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A certificate authority of its own, and a server on `localhost` with a certificate for `name`.
async fn start(name: &str) -> (Vec<CertificateDer<'static>>, SocketAddr) {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 1024];
            if stream.read(&mut request).await.unwrap_or(0) > 0 {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";
                stream.write_all(answer).await.unwrap();
                let _ = stream.read(&mut request).await;
            }
        }
    })
    .await;
    (vec![authority.der().clone()], server.address)
}

async fn ask(client: &Outbound, host: &str, port: u16) -> Result<Bytes, String> {
    exchange(client, &client.target(&format!("https://{host}:{port}/"), true).unwrap()).await
}

#[tokio::test]
async fn a_server_is_believed_when_a_trusted_authority_vouches_for_its_name() {
    let (roots, address) = start("localhost").await;
    let client = Outbound::with_roots(Limits::default(), roots);
    assert_eq!(ask(&client, "localhost", address.port()).await.unwrap(), "secret");
    assert_eq!(ask(&client, "LOCALHOST", address.port()).await.unwrap(), "secret");
    // The same server under a name that its certificate does not hold.
    let error = ask(&client, "127.0.0.1", address.port()).await.unwrap_err();
    assert!(error.starts_with("Tls") && error.contains("NotValidForName"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (_, address) = start("localhost").await;
    let (others, _) = start("localhost").await;
    let client = Outbound::with_roots(Limits::default(), others);
    let error = ask(&client, "localhost", address.port()).await.unwrap_err();
    assert!(error.starts_with("Tls"), "{error}");
}

#[tokio::test]
async fn without_any_trusted_authority_only_https_fails() {
    let (_, address) = start("localhost").await;
    let client = Outbound::with_roots(Limits::default(), vec![]);
    let error = ask(&client, "localhost", address.port()).await.unwrap_err();
    assert!(error.starts_with("NoRoots"), "{error}");
    let plain = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(exchange(&client, &plain.target(&client)).await.unwrap(), "ok");
}
