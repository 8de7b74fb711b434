//! `loadbalance`: the order of records, so that clients that take the first address spread over all of them.
//!
//! ```text
//! loadbalance [round_robin] { prefer CIDR... }     every order of addresses is equally likely
//! loadbalance weighted FILE { reload DURATION }    one address comes first, by its weight
//! ```
//!
//! Only NOERROR replies are touched, and no zone transfers, whose order has a meaning (RFC 5936 §2.2). Names to
//! which a reply leads come before its addresses, which some stub resolvers rely on: aliases first, then all other
//! records in their order, then addresses, then MX.
//!
//! As in CoreDNS the last `loadbalance` of a block decides; `prefer` lines of several add up.

mod order;
mod reload;
mod weights;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use ipnet::IpNet;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::corefile::{Directive, Error, Statement, Warning};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::plugins::follow::Followed;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use reload::WeightFile;

/// The plugin's name.
pub const NAME: &str = "loadbalance";

/// Options that are accepted: the first of `round_robin`, the other of `weighted`.
pub const OPTIONS: [&str; 2] = ["prefer", "reload"];

/// What lines are logged under.
const TARGET: &str = "plugin/loadbalance";

/// How the directive is written.
const USAGE: &str = "loadbalance [round_robin | weighted FILE]";

/// How often a weight file is read again, unless `reload` says otherwise: CoreDNS's default.
const RELOAD: Duration = Duration::from_secs(30);

/// Reads the options, and the weight file if there is one.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let mut chosen = None;
    for directive in directives {
        let next = options(directive, cx)?;
        chosen = Some(match (chosen, next) {
            (Some((_, Options::RoundRobin { mut prefer })), Options::RoundRobin { prefer: more }) => {
                prefer.extend(more);
                (directive, Options::RoundRobin { prefer })
            }
            (_, next) => (directive, next),
        });
    }
    let policy = match chosen {
        None => return Ok(Vec::new()),
        Some((_, Options::RoundRobin { prefer })) => Policy::RoundRobin { prefer },
        Some((directive, Options::Weighted { file, reload })) => {
            let (file, missing) = Followed::open(WeightFile, cx.root.join(file), reload)
                .map_err(|error| directive.error(format!("plugin/loadbalance: {error}")))?;
            let at_directive = |text| Warning { position: directive.position().clone(), text };
            cx.process.warnings.extend(missing.map(at_directive));
            cx.process.tasks.push(file.start());
            Policy::Weighted(file)
        }
    };
    Ok(vec![Arc::new(LoadBalance { policy, dice: Dice::new(rand::rng().random()) })])
}

/// What one directive asks for.
enum Options {
    /// `round_robin`
    RoundRobin {
        /// The prefixes of `prefer`, in order.
        prefer: Vec<IpNet>,
    },
    /// `weighted`
    Weighted {
        /// The file of weights.
        file: PathBuf,
        /// How often it is read again; zero for never.
        reload: Duration,
    },
}

fn options(directive: &Directive, cx: &Context<'_>) -> Result<Options, Error> {
    let words = directive.expect_args(0..=2, USAGE)?;
    match words.first().map(|word| word.text.as_str()) {
        None | Some("round_robin") if words.len() < 2 => {
            let mut prefer = Vec::new();
            for line in directive.lines() {
                match line.name().text.as_str() {
                    "prefer" => {
                        let words = line.expect_args(1..=usize::MAX, "prefer CIDR...")?;
                        prefer.extend(words.iter().map(|w| w.cidr()).collect::<Result<Vec<_>, _>>()?);
                    }
                    "reload" => return Err(line.error("plugin/loadbalance: 'reload' needs 'weighted FILE'")),
                    _ => return Err(line.unknown_property(NAME, &["prefer"])),
                }
            }
            Ok(Options::RoundRobin { prefer })
        }
        Some("weighted") if words.len() == 2 => {
            let mut reload = RELOAD;
            for line in directive.lines() {
                match line.name().text.as_str() {
                    "reload" => reload = line.one_arg("reload DURATION")?.duration()?,
                    "prefer" => return Err(line.error("plugin/loadbalance: 'prefer' needs 'round_robin'")),
                    _ => return Err(line.unknown_property(NAME, &["reload"])),
                }
            }
            Ok(Options::Weighted { file: cx.path(&words[1]), reload })
        }
        Some("round_robin" | "weighted") => {
            Err(directive.error(format!("plugin/loadbalance: write '{USAGE}'")))
        }
        _ => Err(words[0].error(format!("unknown policy '{}': write '{USAGE}'", words[0].text))),
    }
}

/// By what records are ordered.
enum Policy {
    /// By chance alone, but for addresses that are preferred.
    RoundRobin {
        /// Addresses within the first of these come before those within the second, and so on.
        prefer: Vec<IpNet>,
    },
    /// By chance and weights.
    Weighted(Followed<WeightFile>),
}

/// Orders the records of what the plugins behind it answer.
struct LoadBalance {
    /// By what.
    policy: Policy,
    /// The chance.
    dice: Dice,
}

impl LoadBalance {
    fn reorder(&self, kind: RecordType, reply: &mut Reply) {
        let mut rng = self.dice.roll();
        match &self.policy {
            Policy::RoundRobin { prefer } => {
                for section in [&mut reply.answers, &mut reply.authority, &mut reply.additional] {
                    order::shuffle(section, prefer, &mut rng);
                }
            }
            // Other types lead to no address of which the client takes the first.
            Policy::Weighted(file) if matches!(kind, RecordType::A | RecordType::AAAA | RecordType::SRV) => {
                let weights = file.current();
                for section in [&mut reply.answers, &mut reply.additional] {
                    order::lift_one(section, &weights, &mut rng);
                }
            }
            Policy::Weighted(_) => {}
        }
    }
}

#[async_trait]
impl Plugin for LoadBalance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        match &self.policy {
            Policy::RoundRobin { prefer } if prefer.is_empty() => Role::Shuffles,
            Policy::RoundRobin { .. } | Policy::Weighted(_) => Role::General,
        }
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let mut outcome = next.run(query).await;
        if let Outcome::Reply(reply) = &mut outcome
            && reply.rcode == ResponseCode::NoError
            && !matches!(query.kind(), RecordType::AXFR | RecordType::IXFR)
        {
            self.reorder(query.kind(), reply);
        }
        outcome
    }
}

/// Chance without a lock: every reply has a generator of its own, the next of a sequence.
struct Dice(AtomicU64);

impl Dice {
    /// The same seed gives the same sequence.
    const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next generator. Neighbouring seeds give generators that have nothing in common, which is what
    /// `seed_from_u64` is made for.
    fn roll(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
