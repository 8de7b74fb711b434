//! tmp
use std::sync::Arc;
use crate::corefile::{Directive, Error};
use crate::node::chain::Plugin;
use crate::node::setup::Context;
/// The plugin's name.
pub const NAME: &str = "loadbalance";
/// tmp
pub fn setup(_d: &[&Directive], _cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> { Ok(Vec::new()) }
