//! A gateway that was built to skip the decision: it hands every call straight to the desk, with the desk's secret.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
};

pub(super) struct Bypass {
    pub(super) url: String,
}

impl Bypass {
    /// Listens; where the desk is it learns from the demo's folder when the first call comes.
    pub(super) fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = folder.join("desk");
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let desk = desk.clone();
                // Whoever closes first ends the call; nothing is to be done about it here.
                std::thread::spawn(move || drop(client.and_then(|client| pass_on(client, &desk))));
            }
        });
        Self { url }
    }
}

/// One request and its answer, on connections of their own.
fn pass_on(client: TcpStream, desk: &Path) -> io::Result<()> {
    let url = fs::read_to_string(desk.join("url"))?;
    let secret = fs::read_to_string(desk.join("secret"))?;
    let place = url.trim().trim_start_matches("http://");
    let (address, path) = place.split_once('/').unwrap();
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let method = line.split(' ').next().unwrap_or_default();
    let mut head = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {secret}\r\n"
    );
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "host" | "authorization" | "dpop" | "connection" => continue,
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            _ => {}
        }
        head += &line;
    }
    head += "connection: close\r\n\r\n";
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut upstream = TcpStream::connect(address)?;
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(&body)?;
    let mut client = client;
    io::copy(&mut upstream, &mut client)?;
    Ok(())
}
