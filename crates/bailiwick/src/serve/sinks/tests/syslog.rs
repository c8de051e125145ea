//! Syslog servers that have read nothing, or that are none, over real TLS.

use std::sync::Arc;

use gateway::outbound::{Limits, Outbound};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer},
    server::TlsStream,
};

use super::*;

/// A sink at a server on `localhost` that a certificate authority of its own vouches for, and that does this with each connection.
async fn served<F>(scene: &Scene, does: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static) -> Sink
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.expect("the sink trusts this server");
            tokio::spawn(does(stream));
        }
    });
    let client = Outbound::with_roots(Limits::default(), vec![authority.der().clone()]);
    let server = Syslog::of(client, &url, Shape::Leaf, scene.pace.answer).unwrap();
    scene.sink(Wire::Syslog(server), SinkBound::default())
}

/// Why a sink did not take the one entry that there is; its cursor has not moved.
async fn refusal(scene: &Scene, mut sink: Sink) -> NotTaken {
    let mut cursor = sink.take_up().await.unwrap();
    let NoTurn::NotTaken(why) = sink.turn(&mut cursor).await.unwrap_err() else {
        panic!("it is the server that does not take it")
    };
    assert_eq!((cursor.next, scene.kept()), (0, 0));
    why
}

async fn scene() -> Scene {
    let scene = Scene { pace: SHORT, ..Scene::new().await };
    scene.grow(1).await;
    scene
}

#[tokio::test]
async fn a_syslog_server_that_reads_to_the_end_and_closes_has_got_everything() {
    // With TLS's goodbye, and without.
    for says_goodbye in [true, false] {
        let scene = scene().await;
        let read = Arc::new(Mutex::new(Vec::new()));
        let kept = read.clone();
        let mut sink = served(&scene, move |mut stream| {
            let kept = kept.clone();
            async move {
                let mut frames = Vec::new();
                stream.read_to_end(&mut frames).await.unwrap();
                kept.lock().unwrap().extend(frames);
                if says_goodbye {
                    stream.shutdown().await.unwrap();
                }
            }
        })
        .await;
        let mut cursor = sink.take_up().await.unwrap();
        assert!(sink.turn(&mut cursor).await.unwrap(), "{says_goodbye}");
        assert_eq!(scene.kept(), scene.world.engine().log().acknowledged());
        let read = String::from_utf8(read.lock().unwrap().clone()).unwrap();
        assert!(read.contains("bailiwick"), "{read}");
    }
}

#[tokio::test]
async fn a_syslog_server_that_ends_a_connection_without_reading_has_got_nothing() {
    let scene = scene().await;
    let sink = served(&scene, |mut stream| async move {
        stream.shutdown().await.unwrap();
        // Held, so that no reset says what the early goodbye has to say.
        std::future::pending::<()>().await;
    })
    .await;
    let why = refusal(&scene, sink).await;
    assert!(matches!(why, NotTaken::Early), "{why:?}");

    let sink = served(&scene, |stream| async move { drop(stream) }).await;
    let why = refusal(&scene, sink).await;
    assert!(matches!(why, NotTaken::Early | NotTaken::Io(_)), "{why:?}");
}

#[tokio::test]
async fn a_syslog_server_that_answers_is_none() {
    // Before the sink has ended the connection, and afterwards.
    for waits in [false, true] {
        let scene = scene().await;
        let sink = served(&scene, move |mut stream| async move {
            if waits {
                stream.read_to_end(&mut Vec::new()).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 400 Bad\x1b").await.unwrap();
            stream.flush().await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let NotTaken::Strange(why) = refusal(&scene, sink).await else { panic!("it spoke") };
        assert!(why.contains("HTTP/1.1 400") && !why.contains('\u{1b}'), "{why}");
    }
}

#[tokio::test]
async fn a_syslog_server_that_holds_a_connection_has_got_nothing_yet() {
    let scene = scene().await;
    let sink = served(&scene, |mut stream| async move {
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let why = refusal(&scene, sink).await;
    assert!(matches!(why, NotTaken::Slow(_)), "{why:?}");
}
