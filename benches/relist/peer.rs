//! What it takes to hold the same lists decoded: in a process of its own, so that nothing else is counted.

use std::fmt::Debug;
use std::process::Command;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::Server;
use crate::support::Figures;
use crate::support::memory::{Memory, megabytes};

/// Objects of a page, as most clients ask for them.
const PAGE: u32 = 500;

/// What is held.
#[derive(Clone, Copy)]
pub(crate) enum Hold {
    /// Trees of JSON.
    Values,
    /// Structs with all fields of the API.
    Structs,
}

impl Hold {
    /// What `--hold` says.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "values" => Ok(Self::Values),
            "structs" => Ok(Self::Structs),
            _ => Err(format!("--hold {text}: values or structs")),
        }
    }
}

/// Runs both peers and adds their rows.
pub(crate) fn measure(server: &Server, figures: &mut Figures) {
    let Server::Kubeconfig { file, context } = server else { return };
    for (hold, name) in [("values", "trees of JSON (serde_json)"), ("structs", "all fields (k8s-openapi)")] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--hold", hold, "--kubeconfig"]).arg(file);
        command.args(context.iter().flat_map(|context| ["--context", context]));
        let done = command.output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [now, peak] if done.status.success() => {
                figures.row([name.to_owned(), megabytes(now), megabytes(peak)]);
            }
            _ => println!("no peer {hold}: {}{text}", String::from_utf8_lossy(&done.stderr)),
        }
    }
}

/// The peer: lists page by page, holds all of it, and prints its resident memory, now and at most.
pub(crate) fn hold(what: Hold, server: &Server) {
    let Server::Kubeconfig { file, context } = server else { panic!("a peer needs a kubeconfig") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(file).unwrap();
        let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let held: Box<dyn std::any::Any> = match what {
            Hold::Values => Box::new((
                values::<Namespace>(&client).await,
                values::<Service>(&client).await,
                values::<EndpointSlice>(&client).await,
            )),
            Hold::Structs => Box::new((
                structs::<Namespace>(&client).await,
                structs::<Service>(&client).await,
                structs::<EndpointSlice>(&client).await,
            )),
        };
        let Memory { now, peak, .. } = Memory::read();
        println!("{now} {peak}");
        drop(held);
    });
}

/// All objects of a kind, as trees.
async fn values<K: Resource<DynamicType = ()>>(client: &Client) -> Vec<Value> {
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    let request = kube::core::Request::new(K::url_path(&(), None));
    loop {
        let mut page: Value = client.request(request.list(&params).unwrap()).await.unwrap();
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            all.extend(items);
        }
        match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(token),
            None => return all,
        }
    }
}

/// All objects of a kind, with all fields.
async fn structs<K>(client: &Client) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    let api = Api::<K>::all(client.clone());
    loop {
        let page = api.list(&params).await.unwrap();
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return all,
        }
    }
}
