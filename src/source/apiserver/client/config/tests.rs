use tempfile::TempDir;

use super::*;

const CERT: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// A kubeconfig with this cluster and user, in YAML's flow style.
fn kubeconfig_text(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

#[test]
fn a_pod_finds_the_server_by_its_environment() {
    let folder = folder(&[("ca.crt", CERT), ("token", "secret")]);
    for (host, port, url) in
        [("10.96.0.1", "443", "https://10.96.0.1:443/"), ("fd00::1", "6443", "https://[fd00::1]:6443/")]
    {
        let env = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some(port.to_owned()),
            _ => None,
        };
        let config = in_cluster(env, folder.path(), &mut Seen::default()).unwrap();
        assert_eq!(config.cluster_url.to_string(), url);
        assert_eq!(config.root_cert_file.unwrap(), folder.path().join("ca.crt"));
    }
    let why = in_cluster(|_| None, folder.path(), &mut Seen::default()).unwrap_err();
    assert!(why.starts_with("KUBERNETES_SERVICE_HOST is not set"), "{why}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = folder(&[
        ("cert", CERT),
        ("key", KEY),
        ("empty", " \n"),
        ("text", "hello"),
        ("proxy", &kubeconfig_text("server: 'https://a.test', proxy-url: 'http://p.test'", "")),
        ("odd-server", &kubeconfig_text("server: 'a.test'", "")),
        ("no-token", &kubeconfig_text("server: 'https://a.test'", "tokenFile: nowhere")),
        ("empty-token", &kubeconfig_text("server: 'https://a.test'", "tokenFile: empty")),
        ("no-ca", &kubeconfig_text("server: 'https://a.test', certificate-authority: nowhere", "")),
    ]);
    let path = |name: &str| folder.path().join(name);
    let kubeconfig = |name| Place::Kubeconfig { file: path(name), context: None };
    let endpoint = |url: &str, files: Option<[&str; 3]>| {
        let tls = files.map(|[cert, key, ca]| TlsFiles { cert: path(cert), key: path(key), ca: path(ca) });
        Place::Endpoint { url: url.to_owned(), tls }
    };
    let elsewhere = Place::Kubeconfig { file: path("no-ca"), context: Some("elsewhere".into()) };
    let https = "https://a.test";
    let cases = [
        ("no scheme", endpoint("a.test:6443", None), "\"a.test:6443\" is not an API server's address"),
        ("another scheme", endpoint("ftp://a.test", None), "\"ftp://a.test\" is not an API server's address"),
        ("no CA", endpoint(https, Some(["cert", "key", "nowhere"])), "/nowhere: No such file"),
        (
            "a CA that is none",
            endpoint(https, Some(["cert", "key", "text"])),
            "/text holds no CERTIFICATE in PEM",
        ),
        (
            "a key that is none",
            endpoint(https, Some(["cert", "cert", "cert"])),
            "/cert holds no PRIVATE KEY in PEM",
        ),
        ("no kubeconfig", kubeconfig("nowhere"), "/nowhere"),
        ("not a kubeconfig", kubeconfig("text"), "/text: "),
        ("no such context", elsewhere, "elsewhere"),
        ("a proxy", kubeconfig("proxy"), "proxy-url http://p.test is not supported"),
        ("an address without scheme", kubeconfig("odd-server"), "is not an API server's address"),
        ("no token", kubeconfig("no-token"), "/nowhere: No such file"),
        ("an empty token", kubeconfig("empty-token"), "/empty is empty"),
        ("a kubeconfig without its CA", kubeconfig("no-ca"), "/nowhere"),
    ];
    for (name, place, message) in cases {
        let Err(why) = load(&place) else { panic!("{name}") };
        assert!(why.contains(message), "{name}: {why}");
    }
}

#[test]
fn a_token_may_end_with_a_line_break() {
    let text = kubeconfig_text("server: 'https://a.test'", "tokenFile: token");
    let folder = folder(&[("kubeconfig", &text), ("token", "secret\n")]);
    let place = Place::Kubeconfig { file: folder.path().join("kubeconfig"), context: None };
    let auth = load(&place).unwrap().config.auth_info;
    assert!(auth.token.is_some() && auth.token_file.is_none());
    fs::write(folder.path().join("token"), "secret").unwrap();
    let auth = load(&place).unwrap().config.auth_info;
    assert!(auth.token.is_none() && auth.token_file.is_some(), "read anew by kube");
}

#[test]
fn plain_http_needs_no_files() {
    let loaded = load(&Place::Endpoint { url: "http://127.0.0.1:8080".into(), tls: None }).unwrap();
    assert!(!loaded.config.default_retry);
    assert!(!loaded.seen.changed());
}

#[test]
fn files_that_change_are_noticed() {
    let tls = ["cert", "key", "ca"];
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("written", |path| fs::write(path, format!("{CERT}{KEY}")).unwrap()),
        ("replaced by one alike", |path| {
            fs::copy(path, path.with_extension("new")).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, change) in changes {
        for changed in tls {
            let folder = folder(&[("cert", CERT), ("key", KEY), ("ca", CERT)]);
            let [cert, key, ca] = tls.map(|name| folder.path().join(name));
            let place =
                Place::Endpoint { url: "https://a.test".into(), tls: Some(TlsFiles { cert, key, ca }) };
            let seen = load(&place).unwrap().seen;
            assert!(!seen.changed());
            change(&folder.path().join(changed));
            assert!(seen.changed(), "{changed} {name}");
        }
    }
}
