//! Where a node has the cluster of the recordings from.

use std::fmt;
use std::fs;

use outlast::drill::standin::requests::{ListKind, Verb};
use outlast::drill::standin::{Config, Standin, StreamingLists, seed};
use outlast::zone::object::Kind;
use tempfile::NamedTempFile;

use crate::run::data;

/// The cluster, as kubectl printed it.
const CLUSTER: &str = "cluster.json";

/// A source of the cluster. It serves until it is dropped.
pub(crate) enum Origin {
    /// `source file`.
    File,
    /// An API server on a real socket.
    ApiServer {
        /// The server.
        standin: Box<Standin>,
        /// How it is reached.
        kubeconfig: NamedTempFile,
        /// Whether it streams lists.
        streaming: StreamingLists,
    },
}

impl Origin {
    /// Every way to learn of a cluster.
    pub(crate) async fn all() -> [Self; 3] {
        let on = Self::api_server(StreamingLists::On).await;
        let off = Self::api_server(StreamingLists::Off).await;
        [Self::File, on, off]
    }

    async fn api_server(streaming: StreamingLists) -> Self {
        let config = Config { fresh_namespaces: false, streaming_lists: streaming, ..Config::default() };
        let standin = Box::new(Standin::start(config).await.unwrap());
        let text = fs::read_to_string(data(CLUSTER)).unwrap();
        seed::objects(standin.etcd(), &text, |_| ()).unwrap();
        let kubeconfig = NamedTempFile::new().unwrap();
        fs::write(&kubeconfig, standin.kubeconfig()).unwrap();
        Self::ApiServer { standin, kubeconfig, streaming }
    }

    /// What the `kubernetes` block says of it.
    pub(crate) fn lines(&self) -> String {
        match self {
            Self::File => format!("source file \"{}\"", data(CLUSTER).display()),
            Self::ApiServer { kubeconfig, .. } => format!("kubeconfig {}", kubeconfig.path().display()),
        }
    }

    /// Fails if the node came by its data in another way than the one that this stands for.
    pub(crate) fn was_asked_as_it_is_meant(&self) {
        let Self::ApiServer { standin, streaming, .. } = self else { return };
        let requests = standin.requests();
        let streamed = requests
            .count(|a| a.verb == Verb::Watch && a.list == Some(ListKind::Streaming) && a.status == 200);
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Namespace] {
            match streaming {
                StreamingLists::On => assert_eq!(requests.lists(kind), 0, "{self}: {kind}"),
                StreamingLists::Off | StreamingLists::OldEtcd => {
                    assert_eq!((streamed, requests.lists(kind)), (0, 1), "{self}: {kind}");
                }
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("source file"),
            Self::ApiServer { streaming, .. } => write!(f, "API server, streaming lists {streaming:?}"),
        }
    }
}
