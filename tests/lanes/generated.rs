//! Packets by the thousand, in worlds that change under them: services come and go, data gets old, what is kept
//! expires, upstreams fail.

use std::time::Duration;

use outlast::source::{Event, Update};
use outlast::zone::change::Change;
use outlast::zone::object::Object;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::outside::{GLUE, WORLD};
use crate::packets::{Packet, Packets};
use crate::pair::Pair;
use crate::score::{Score, class};
use crate::{fixture, irregular, roles};

/// Packets of all tests together, unless `OUTLAST_TEST_PACKETS` says otherwise: seconds without optimisation.
const PACKETS: usize = 60_000;

/// Tests among which they are divided.
const TESTS: usize = 7;

/// Packets that one pair of nodes is asked, so that what a cache keeps of them fits into it: which entry has to go is
/// a matter of chance.
const ROUND: usize = 5_000;

/// Packets between two changes of the world.
const CALM: usize = 250;

/// The longest time that passes between them.
const LONGEST: Duration = Duration::from_secs(12);

/// How the nodes are configured, and what they are asked beside the usual.
pub(crate) struct Setting {
    /// For people.
    pub(crate) name: &'static str,
    /// The Corefile.
    pub(crate) corefile: &'static str,
    /// The least share of plain packets of these classes that is answered inline.
    pub(crate) floors: &'static [(&'static str, f64)],
    /// Names that only this configuration has something to say about.
    pub(crate) own: &'static [&'static str],
    /// What becomes of upstreams from time to time.
    pub(crate) outage: &'static [&'static str],
    /// What an operator pins and unpins: names, types and values.
    pub(crate) pins: &'static [[&'static str; 3]],
}

/// The longest time that something is pinned for: some of it ends by itself.
const LONGEST_PIN: Duration = Duration::from_secs(60);

/// Nothing but the usual.
const USUAL: Setting =
    Setting { name: "", corefile: "", floors: &[], own: &[], outage: &["is", "failing"], pins: &[] };

#[tokio::test(start_paused = true)]
async fn generated_with_the_corefile_of_kubeadm() {
    play(&Setting {
        name: "kubeadm",
        corefile: ".:53 {
            errors
            health
            ready
            prometheus
            kubernetes cluster.local in-addr.arpa ip6.arpa {
                source file /nowhere
                pods insecure
                fallthrough in-addr.arpa ip6.arpa
                ttl 30
            }
            cache 300
            loop
            reload
            loadbalance
        }",
        floors: &[
            ("cluster A", 0.95),
            ("cluster SRV", 0.7),
            ("cluster NXDOMAIN", 0.95),
            ("cluster NODATA", 0.95),
            ("reverse PTR", 0.95),
            ("cluster A old", 0.95),
            ("cluster NXDOMAIN old", 0.9),
            ("outside A", 0.6),
            ("outside NXDOMAIN", 0.5),
        ],
        ..USUAL
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn generated_with_sizes_and_identifiers() {
    play(&Setting {
        name: "sizes",
        corefile: ".:53 {
            prometheus
            nsid node-1
            bufsize 600
            cache 60 {
                prefetch 3 1m 20%
                serve_stale 1h immediate
            }
            kubernetes cluster.local in-addr.arpa ip6.arpa {
                source file /nowhere
                pods verified
                endpoint_pod_names
            }
        }",
        floors: &[
            ("cluster A", 0.95),
            ("cluster NXDOMAIN", 0.95),
            ("reverse NXDOMAIN old", 0.85),
            ("outside A", 0.6),
        ],
        ..USUAL
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn generated_with_names_that_fall_through() {
    play(&Setting {
        name: "fallthrough",
        corefile: ".:53 {
            prometheus
            cache 30
            template IN AAAA v6.example {
                rcode NXDOMAIN
            }
            kubernetes cluster.local in-addr.arpa ip6.arpa {
                source file /nowhere
                pods insecure
                fallthrough
            }
        }",
        floors: &[("outside A", 0.5)],
        ..USUAL
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn generated_with_names_that_fall_through_to_a_cache() {
    play(&Setting {
        name: "fallthrough, no template",
        corefile: ".:53 {
            prometheus
            cache 30
            kubernetes cluster.local in-addr.arpa ip6.arpa {
                source file /nowhere
                pods insecure
                fallthrough
            }
        }",
        floors: &[
            ("cluster A", 0.9),
            ("cluster A old", 0.8),
            // Kept of what is outside.
            ("cluster NXDOMAIN", 0.5),
            ("outside A", 0.5),
        ],
        ..USUAL
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn generated_with_the_corefile_of_node_cache() {
    play(&Setting {
        name: "node-cache",
        corefile: "cluster.local:53 {
            errors
            cache {
                success 9984 30
                denial 9984 5
            }
            reload
            prometheus :9253
        }
        in-addr.arpa:53 {
            errors
            cache 30
            prometheus :9253
        }
        ip6.arpa:53 {
            errors
            cache 30
            prometheus :9253
        }
        .:53 {
            errors
            cache 30
            loadbalance
            prometheus :9253
        }",
        floors: &[("cluster NXDOMAIN", 0.6), ("outside A", 0.5), ("outside NXDOMAIN", 0.5)],
        ..USUAL
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn generated_with_every_plugin_that_has_a_role() {
    play(&roles::SETTING).await;
}

#[tokio::test(start_paused = true)]
async fn generated_with_names_that_are_pinned_and_unpinned() {
    play(&Setting {
        name: "pins",
        corefile: "cluster.local:53 {
            prometheus
            kubernetes cluster.local {
                source file /nowhere
                pods insecure
            }
        }
        test:53 {
            prometheus
            acl {
                drop type TXT net 10.0.0.0/8
                block type MX net 10.0.0.0/8
            }
        }
        .:53 {
            prometheus
            cache 60
        }",
        floors: &[("cluster A", 0.7), ("outside A", 0.3)],
        own: &[
            "storefront.shop.svc.cluster.local.",
            "Storefront.Shop.svc.cluster.local.",
            "absent.shop.svc.cluster.local.",
            "www.example.",
            "alias.example.",
            "pinned.test.",
            "below.pinned.test.",
            "to-cluster.test.",
            "to-itself.test.",
        ],
        pins: &[
            ["storefront.shop.svc.cluster.local", "A", "192.0.2.201"],
            ["storefront.shop.svc.cluster.local", "A", "192.0.2.202"],
            ["storefront.shop.svc.cluster.local", "AAAA", "2001:db8::c9"],
            ["absent.shop.svc.cluster.local", "TXT", "\"it is there\" now"],
            ["www.example", "AAAA", "2001:db8::ca"],
            ["alias.example", "CNAME", "many.example"],
            ["pinned.test", "A", "192.0.2.203"],
            ["pinned.test", "SRV", "1 2 3 www.example"],
            ["to-cluster.test", "CNAME", "storefront.shop.svc.cluster.local"],
            ["to-itself.test", "CNAME", "to-other.test"],
            ["to-other.test", "CNAME", "to-itself.test"],
        ],
        ..USUAL
    })
    .await;
}

/// How many packets this test is to ask.
fn packets() -> usize {
    let all = std::env::var("OUTLAST_TEST_PACKETS").map_or(PACKETS, |text| text.parse().unwrap());
    all.div_ceil(TESTS)
}

/// Asks packets of pairs of nodes, round by round.
async fn play(setting: &Setting) {
    let Setting { name, floors, own, pins, .. } = setting;
    let objects: Vec<_> = irregular::objects().into_iter().chain(fixture::objects()).collect();
    let (mut plain, mut others) = (Score::default(), Score::default());
    let mut left = packets();
    let (mut seed, mut pinned) = (0, 0);
    while left > 0 {
        seed += 1;
        let count = left.min(ROUND);
        left -= count;
        let mut round = Round::start(setting, objects.clone(), seed).await;
        let mut packets = Packets::new(&objects, own, seed);
        for number in 0..count {
            if number % CALM == 0 {
                round.change(number > count / 2).await;
            }
            let Packet { bytes, plain: is_plain } = packets.next();
            let answered = round.pair.ask(&bytes).await.unwrap_or_else(|differ| {
                panic!("{name}, round {seed}, packet {number}, {bytes:02x?}\n{differ}")
            });
            let score = if is_plain { &mut plain } else { &mut others };
            score.add(class(answered.reply.as_deref()), answered.inline);
        }
        round.pair.have_counted_the_same();
        pinned += round.pair.pinned();
    }
    let (inline, all) = plain.total();
    println!("{name}: {inline} of {all} plain packets inline\n{plain}");
    let (inline, all) = others.total();
    println!("{name}: {inline} of {all} other packets inline\n{others}");
    println!("{name}: {pinned} answers were pinned");
    assert_eq!(pinned > 0, !pins.is_empty(), "{name}: what is pinned is asked for");
    for (class, floor) in *floors {
        let share = plain.share(class, 20);
        assert!(share >= *floor, "{name}: {share:.2} of '{class}' inline, and {floor} are wanted\n{plain}");
    }
}

/// A pair of nodes and what becomes of the world around them.
struct Round {
    pair: Pair,
    /// The cluster.
    objects: Vec<Object>,
    /// Decides what happens.
    rng: SmallRng,
    /// Whether upstreams answer.
    answers: bool,
    /// What becomes of them where they do not.
    outage: &'static [&'static str],
    /// What an operator pins and unpins.
    pins: &'static [[&'static str; 3]],
}

impl Round {
    async fn start(setting: &Setting, objects: Vec<Object>, seed: u64) -> Self {
        let Setting { name, corefile, outage, pins, .. } = setting;
        println!("{name}, round {seed}");
        // Addresses of other names keep the lane from changing the order of any.
        let glue = if corefile.contains("loadbalance") { &[][..] } else { &GLUE };
        let pair = Pair::start(corefile, &[&WORLD[..], glue].concat());
        pair.tell_state(&objects).await;
        Self { pair, objects, rng: SmallRng::seed_from_u64(seed), answers: true, outage, pins }
    }

    /// Time passes, and something happens in it; from some moment on nothing is heard of the cluster any more.
    async fn change(&mut self, is_cut_off: bool) {
        let time = self.rng.random_range(0..LONGEST.as_millis() as u64);
        self.pair.advance(Duration::from_millis(time)).await;
        if !is_cut_off {
            let at = self.rng.random_range(0..self.objects.len());
            let object = self.objects[at].clone();
            // Half of what is taken away comes back.
            let change =
                if self.rng.random_bool(0.5) { Change::Delete(object.key()) } else { Change::Upsert(object) };
            let event = || Event { change: change.clone(), trigger: None, held: None };
            self.pair.tell(|| Update::Changes(vec![event()])).await;
            let as_of = tokio::time::Instant::now();
            self.pair.tell(|| Update::Fresh { as_of }).await;
        }
        if let Some(pin) = self.pins.choose(&mut self.rng) {
            // More often pinned than unpinned: what ends by itself is another way to go.
            if self.rng.random_ratio(2, 3) {
                let time = self.rng.random_range(1..LONGEST_PIN.as_millis() as u64);
                self.pair.pin(*pin, Duration::from_millis(time));
            } else {
                self.pair.unpin(pin[0]);
            }
        }
        // They fail for a part of the time.
        if self.rng.random_ratio(if self.answers { 1 } else { 3 }, 6) {
            self.answers = !self.answers;
            self.pair.outside(if self.answers { &["answers"] } else { self.outage });
        }
    }
}
