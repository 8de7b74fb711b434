//! Requests of a test's own, and somebody between browser and page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a reply may take: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What comes back for the head of a request, without its last empty line.
pub(crate) fn ask(page: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

/// The document at a path.
pub(crate) fn get(page: SocketAddr, path: &str) -> String {
    let reply = ask(page, &format!("GET {path} HTTP/1.1\r\nHost: localhost"));
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// Somebody between a browser and a page.
pub(crate) struct Between {
    /// Where the browser finds the page.
    pub(crate) address: SocketAddr,
    /// The first line of each request so far.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// Passes everything on to `page`, and takes scripts away from whoever it comes back to: a browser that has them
    /// switched off altogether prints nothing and takes no pictures.
    pub(crate) fn without_scripts(page: SocketAddr) -> Self {
        Self::begin(page, "content-security-policy: sandbox\r\n", |_| true)
    }

    /// Passes requests on to `page` as long as `before`, which is told how many there were already, says so; then they are
    /// left without a reply. It ends with the test's process.
    pub(crate) fn start(page: SocketAddr, before: impl FnMut(usize) -> bool + Send + 'static) -> Self {
        Self::begin(page, "", before)
    }

    fn begin(
        page: SocketAddr,
        header: &'static str,
        mut before: impl FnMut(usize) -> bool + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(head) = head(&mut stream) else { continue };
                let count = seen.lock().unwrap().len();
                seen.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
                if before(count) {
                    let reply = ask(page, &head).replacen("\r\n", &format!("\r\n{header}"), 1);
                    // The browser may have gone.
                    let _ = stream.write_all(reply.as_bytes());
                }
            }
        });
        Self { address, asked }
    }

    /// The first line of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The head of a request, without its last empty line; `None` for a connection on which nothing is asked.
fn head(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.extend_from_slice(&byte);
    }
    head.truncate(head.len() - 4);
    Some(String::from_utf8(head).unwrap())
}
