//! What lies between a node and its API server: passes bytes on and counts them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::config::{Kubeconfig, NamedCluster};

use crate::arguments::Server;

/// Read at a time.
const BUFFER: usize = 64 << 10;

/// The port of a URL that names none.
const HTTPS: u16 = 443;

/// Accepts until the bench ends.
pub(crate) struct Proxy {
    /// Where it listens.
    address: SocketAddr,
    /// Bytes that have come from the API server.
    received: Arc<AtomicU64>,
    /// The kubeconfig that leads here.
    kubeconfig: Kubeconfig,
}

impl Proxy {
    /// One before this server.
    pub(crate) fn start(server: &Server) -> Self {
        let Server::Kubeconfig { file, context } = server else { panic!("a stand-in has a kubeconfig") };
        let mut kubeconfig = Kubeconfig::read_from(file).unwrap();
        if context.is_some() {
            kubeconfig.current_context = context.clone();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = lead_here(&mut kubeconfig, address);
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Where nobody listens the client is refused by a connection that ends.
                let Ok(server) = TcpStream::connect(&upstream) else { continue };
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let count = count.clone();
                std::thread::spawn(move || pass(from_client, to_server, &AtomicU64::new(0)));
                std::thread::spawn(move || pass(server, client, &count));
            }
        });
        Self { address, received, kubeconfig }
    }

    /// Bytes from the API server so far, TLS included.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Writes the kubeconfig that leads through the proxy.
    pub(crate) fn kubeconfig(&self, dir: &Path) -> PathBuf {
        let path = dir.join(format!("kubeconfig-{}", self.address.port()));
        // JSON is YAML.
        std::fs::write(&path, serde_json::to_vec(&self.kubeconfig).unwrap()).unwrap();
        path
    }
}

/// Points the current context's cluster at `here`; returns the host and port that it pointed at.
fn lead_here(kubeconfig: &mut Kubeconfig, here: SocketAddr) -> String {
    let current = kubeconfig.current_context.clone().expect("a kubeconfig with a context");
    let context = kubeconfig.contexts.iter().find(|c| c.name == current).and_then(|c| c.context.as_ref());
    let name = context.expect("the context is there").cluster.clone();
    let is_it = |cluster: &&mut NamedCluster| cluster.name == name;
    let cluster = kubeconfig.clusters.iter_mut().find(is_it).and_then(|c| c.cluster.as_mut());
    let cluster = cluster.expect("the context's cluster is there");
    let server = cluster.server.replace(format!("https://{here}")).expect("a cluster has a server");
    let authority = server.trim_start_matches("https://").split('/').next().unwrap_or_default().to_owned();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().unwrap()),
        _ => (&*authority, HTTPS),
    };
    let host = host.trim_matches(['[', ']']);
    // The certificate is still the server's.
    cluster.tls_server_name.get_or_insert_with(|| host.to_owned());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Passes on until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Whichever side ended, the other one is told.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
