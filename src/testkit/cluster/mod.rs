//! Clusters of any size, the same for the same seed, and objects one at a time.
//!
//! * [`Cluster`]: as many services and endpoints as asked for, exactly, in the proportions of a real cluster.
//! * [`svc`], [`slice()`], [`ns`], [`pod`]: single objects in one line.
//! * [`write_json`]: objects as kubectl prints them.

mod build;
mod print;

pub use build::{Slice, Svc, ns, pod, slice, svc};
pub use print::write_json;

pub use crate::drill::cluster::Cluster;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Wanted;
    use crate::source::kubectl::{Decoder, Format};
    use crate::zone::object::{Object, Protocol};

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let mut objects = Cluster::sized(100, 1500).with_pods().objects();
        objects.push(slice("shop/spelled", "web-0").v6("FD00::1").host("a").v6("fd00::2").pod("p").build());
        objects.push(slice("shop/bare", "").any_port("", None, Protocol::Unset).build());
        objects.push(svc("shop/pending").udp("dns", 53).build());
        let mut text = Vec::new();
        write_json(&objects, &mut text).unwrap();
        let mut decoder = Decoder::new(Wanted { labels: false, pods: true });
        decoder.decode(Format::Json, &text[..]).unwrap();
        let found = decoder.finish();
        assert!(found.drops.is_empty() && found.skipped.is_empty(), "{:?} {:?}", found.drops, found.skipped);
        objects.sort_by_key(Object::key);
        assert_eq!(found.objects, objects);
    }
}
