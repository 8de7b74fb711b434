//! `metadata [ZONES...]`: has the plugins behind it say what they know of a query, for those that read it: `log`,
//! and whatever puts labels such as `{/kubernetes/namespace}` into texts.
//!
//! It costs every query in ZONES a little, so it is only done where it is asked for. A question that arises from
//! another one (what an alias leads to) shares its facts: they are about what the client asked.

use std::sync::Arc;

use async_trait::async_trait;

use super::{is_within, once, zones};
use crate::corefile::{Directive, Error};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::facts::Facts;
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::setup::Context;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "metadata";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// Reads ZONES.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_body()?;
    Ok(vec![Arc::new(Metadata { zones: zones(&directive.args, cx)? })])
}

/// Collects facts.
struct Metadata {
    /// Of queries for names in these zones.
    zones: Vec<Labels>,
}

#[async_trait]
impl Plugin for Metadata {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Plugins that ask for what is known of a query are not in the lane.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::None
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        if query.facts().is_some() || !is_within(query.labels(), &self.zones) {
            return next.run(query).await;
        }
        let facts = Arc::new(Facts::default());
        next.plugins().iter().for_each(|plugin| plugin.describe(query, &facts));
        next.run(&query.with_facts(facts)).await
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use crate::node::reply::Reply;
    use crate::node::test_support::{Ask, Logs, Scene, plugins};

    /// What is logged of a query for `name` with this first line.
    async fn logged(metadata: &str, name: &'static str) -> String {
        let body = format!("{metadata}\nlog . \"{{/log/class}} {{/log/type}}\"");
        let scene = Scene::new(&body, |_| Reply::new(ResponseCode::Refused, "last").into());
        let logs = Logs::capture("");
        scene.run(&Ask { name, ..Ask::default() }).await;
        logs.take().remove(0)
    }

    #[tokio::test]
    async fn metadata_zones() {
        for (metadata, name, want) in [
            ("", "a.example.", "- -"),
            ("metadata", "a.example.", "error OTHERERROR"),
            ("metadata example test", "a.example.", "error OTHERERROR"),
            ("metadata test", "a.example.", "- -"),
        ] {
            assert_eq!(logged(metadata, name).await, format!("[INFO] {want}"), "{metadata}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [("metadata a..b", "empty label"), ("metadata {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
