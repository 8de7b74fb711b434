//! kdig: several questions over one connection, and DoT.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::world::{MANY, World, possible_with};

/// The name in the certificate of the DoT listener.
const NAME: &str = "dns.node.example";

#[test]
fn kdig_keeps_a_connection_open() {
    if !possible_with(&["kdig"]) {
        return;
    }
    let world = World::new("", "");
    let names = ["web.shop", "vault.bank", "dual.shop"];
    let questions: String = names.iter().map(|n| format!("-q {n}.svc.cluster.local. -t A ")).collect();
    let output = world.run("kdig", &format!("@127.0.0.1 +tcp +keepopen +short {questions}"));
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["10.96.0.7", "10.96.0.8", "10.96.0.9"]);
    let ports = world.logged(names.len(), |line| line.contains(" tcp "));
    assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    let output = world.run("kdig", "@127.0.0.1 +edns +bufsize=1232 many.shop.svc.cluster.local. A");
    assert!(output.contains(&format!("ANSWER: {MANY};")), "TC leads to TCP: {output}");
}

/// A certificate for [`NAME`] as files in a folder: chain, key, and who has signed it.
pub(super) fn certificate(folder: &str) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let files = ["tls.crt", "tls.key", "ca.crt"].map(|name| format!("{folder}/{name}"));
    for (file, text) in files.iter().zip([leaf.pem(), key.serialize_pem(), issuer.pem()]) {
        fs::write(file, text).unwrap();
    }
    files
}

/// Needs the plugin `tls` and listeners for DoT.
#[test]
fn kdig_asks_over_tls() {
    if !possible_with(&["kdig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [chain, key, ca] = certificate(folder.path().to_str().unwrap());
    let block = format!("tls://.:853 {{\ntls {chain} {key}\nlog\nforward . 127.0.0.1\n}}");
    let world = World::new("", &block);
    let tls = format!("@127.0.0.1 +tls-ca={ca} +tls-hostname={NAME}");
    let output = world.run("kdig", &format!("{tls} many.shop.svc.cluster.local. A"));
    assert!(output.contains(&format!("ANSWER: {MANY};")), "{output}");
    assert!(output.contains("TLS session") && output.contains("status: NOERROR"), "{output}");
    let output = world.run(
        "kdig",
        &format!("{tls} +keepopen +short -q web.shop.svc.cluster.local. -t A -q www.outside.example. -t A"),
    );
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["10.96.0.7", "192.0.2.80"]);
    // A certificate for another name is no use, which shows that it was looked at.
    let (code, output) =
        world.status("kdig", &format!("@127.0.0.1 +tls-ca={ca} +tls-hostname=other.example +retry=0 web. A"));
    assert!(code != 0, "{output}");
}
