//! What a template's options do to replies and metrics.

use futures_util::FutureExt;
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::CNAME;
use proptest::prelude::*;

use super::*;
use crate::corefile::{self, Error, LoadOptions};
use crate::node::chain::Chain;
use crate::node::facts::Facts;
use crate::node::presentation;
use crate::node::reply::EdeCode;
use crate::node::test_support::{Ask, Logs, address, chain, plugins, record as made, router, run};
use crate::testkit::node::Builder;

fn asking(name: &'static str, kind: RecordType) -> Ask {
    Ask { name, kind, ..Ask::default() }
}

/// The block in a directive, with a plugin behind it that refuses.
fn templates(directives: &str) -> Chain {
    chain(directives, |_| Reply::new(ResponseCode::Refused, "last").into())
}

async fn ask(directives: &str, ask: &Ask) -> Outcome {
    run(&templates(directives), ask).await
}

fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Reply(reply) => *reply,
        other => panic!("{other:?}"),
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    let text = |r: &Record| {
        format!("{} {} {} {} {}", r.name.to_ascii(), r.ttl, r.dns_class, r.record_type(), r.data)
    };
    records.iter().map(text).collect()
}

/// What the answers to a question are, one in a line.
async fn answers(directives: &str, question: &Ask) -> Vec<String> {
    texts(&reply(ask(directives, question).await).answers)
}

fn refusal(directives: &str) -> String {
    let made: Result<_, Error> = plugins(directives);
    match made {
        Ok(_) => panic!("accepted: {directives}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn template_match() {
    let by_ip = r#"template IN A example.test {
        match "^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)-(?P<c>[0-9]+)-(?P<d>[0-9]+)\.example\.test\.$"
        match "^([0-9]+)x([0-9]+)\.example\.test\.$" "^fixed\.example\.test\.$"
        answer "{{ .Name }} 60 IN A {{ if .Group.a }}{{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}{{ else }}10.0.0.{{ len .Match }}{{ end }}"
    }"#;
    let a = |name| asking(name, RecordType::A);
    assert_eq!(
        answers(by_ip, &a("IP-10-1-2-3.example.TEST.")).await,
        ["ip-10-1-2-3.example.test. 60 IN A 10.1.2.3"]
    );
    // The first that matches counts.
    assert_eq!(answers(by_ip, &a("5x7.example.test.")).await, ["5x7.example.test. 60 IN A 10.0.0.3"]);
    assert_eq!(answers(by_ip, &a("fixed.example.test.")).await, ["fixed.example.test. 60 IN A 10.0.0.1"]);
    // None matches: nobody else is asked.
    let miss = ask(by_ip, &a("other.example.test.")).await;
    assert!(
        matches!(&miss, Outcome::Failed(f) if f.rcode == ResponseCode::ServFail && f.error.is_none()),
        "{miss:?}"
    );
    // Another zone or type is none of its business.
    for other in [a("ip-10-1-2-3.example."), asking("ip-10-1-2-3.example.test.", RecordType::AAAA)] {
        assert_eq!(ask(by_ip, &other).await.rcode(), ResponseCode::Refused);
    }
}

#[tokio::test]
async fn template_fallthrough() {
    let dead = |line: &str| {
        format!(
            "template ANY ANY dead.example.net {{\n match \"^(?:[^.]+\\.){{4,}}dead\\.example\\.net\\.$\"\n \
             rcode NXDOMAIN\n {line}\n}}"
        )
    };
    let a = |name| asking(name, RecordType::A);
    let hit = reply(ask(&dead("fallthrough"), &a("a.b.c.d.dead.example.net.")).await);
    assert_eq!((hit.rcode, hit.authoritative, hit.authority.len()), (ResponseCode::NXDomain, true, 0));
    for (line, name, want) in [
        ("fallthrough", "a.dead.example.net.", ResponseCode::Refused),
        ("", "a.dead.example.net.", ResponseCode::ServFail),
        ("fallthrough b.dead.example.net", "a.dead.example.net.", ResponseCode::ServFail),
        ("fallthrough b.dead.example.net", "a.b.dead.example.net.", ResponseCode::Refused),
    ] {
        assert_eq!(ask(&dead(line), &a(name)).await.rcode(), want, "{line} {name}");
    }
    // The next template may have it.
    let two = format!("{}\ntemplate IN A dead.example.net {{\n rcode YXDOMAIN\n}}", dead("fallthrough"));
    assert_eq!(ask(&two, &a("a.dead.example.net.")).await.rcode(), ResponseCode::YXDomain);
}

/// A wildcard for private addresses.
const PRIVATE: &str = r#"template IN A example.com {
    match ^(?P<ip>[0-9]{1,3}(-[0-9]{1,3}){3})[.]example[.]com[.]$
    var ip replace(group('ip'), '-', '.')
    expr "any(['10.0.0.0/8', '192.168.0.0/16'], incidr(ip, #))"
    answer "{{ .Name }} 60 IN A {{ .Var.ip }}"
    fallthrough
}"#;

#[tokio::test]
async fn template_var() {
    let a = asking("10-1-2-3.example.com.", RecordType::A);
    assert_eq!(answers(PRIVATE, &a).await, ["10-1-2-3.example.com. 60 IN A 10.1.2.3"]);
    let other =
        PRIVATE.replace("var ip replace(group('ip'), '-', '.')", "var ip '192.168.0.' + string(len(name()))");
    assert_eq!(answers(&other, &a).await, ["10-1-2-3.example.com. 60 IN A 192.168.0.21"]);
}

#[tokio::test]
async fn template_expr() {
    let public = asking("8-8-8-8.example.com.", RecordType::A);
    assert_eq!(ask(PRIVATE, &public).await.rcode(), ResponseCode::Refused);
    // What fails does not hold.
    let no_address = asking("999-8-8-8.example.com.", RecordType::A);
    assert_eq!(ask(PRIVATE, &no_address).await.rcode(), ResponseCode::Refused);
    let strict = PRIVATE.replace("fallthrough", "");
    assert_eq!(ask(&strict, &public).await.rcode(), ResponseCode::ServFail);
    let all = PRIVATE.replace("'10.0.0.0/8'", "'0.0.0.0/0'");
    assert_eq!(answers(&all, &public).await, ["8-8-8-8.example.com. 60 IN A 8.8.8.8"]);
}

#[tokio::test]
async fn template_answer() {
    for (name, answer, question, want) in [
        (
            "names and values",
            r#"answer "{{ .Name }} 60 {{ .Class }} {{ .Type }} {{ .Remote }}""#,
            asking("A.example.", RecordType::A),
            vec!["a.example. 60 IN A 10.240.0.1"],
        ),
        (
            "several, in their order, on one line and on two",
            "answer \"a. IN A 10.0.0.2\" \"a. IN A 10.0.0.1\"\n answer \"a. IN A 10.0.0.3\"",
            asking("a.", RecordType::A),
            vec!["a. 3600 IN A 10.0.0.2", "a. 3600 IN A 10.0.0.1", "a. 3600 IN A 10.0.0.3"],
        ),
        (
            "by a condition",
            r#"answer "{{ if eq .Type \"A\" }}{{ .Name }} 5 IN A 10.0.0.1{{ end }}""#,
            asking("a.", RecordType::AAAA),
            vec![],
        ),
        (
            "what was asked for, as it was asked",
            r#"answer "{{ .Name }} IN TXT \"{{ .Question.Name }} {{ .Question.Qtype }} {{ .Message.Id }} {{ (index .Message.Question 0).Qclass }} {{ .Message.RecursionDesired }}\"""#,
            asking("Ab.", RecordType::TXT),
            vec!["ab. 3600 IN TXT Ab. 16 7 1 true"],
        ),
        (
            "ANY is of the template's type",
            r#"answer "{{ .Name }} IN HINFO {{ .Type }} {{ .Zone }}""#,
            asking("a.", RecordType::ANY),
            vec!["a. 3600 IN HINFO ANY ."],
        ),
    ] {
        let directive = format!("template IN ANY {{\n {answer}\n}}");
        assert_eq!(answers(&directive, &question).await, want, "{name}");
    }
    let facts = Arc::new(Facts::default());
    facts.set("kubernetes/client-namespace", "lab");
    let meta = r#"template IN TXT {
        answer "{{ .Name }} IN TXT x{{ .Meta \"kubernetes/client-namespace\" }}"
    }"#;
    let query = asking("a.", RecordType::TXT).query();
    let of = async |query: &Query| texts(&reply(Next::all(&templates(meta)).run(query).await).answers);
    assert_eq!(of(&query).await, ["a. 3600 IN TXT x"]);
    assert_eq!(of(&query.with_facts(facts)).await, ["a. 3600 IN TXT xlab"]);
}

#[tokio::test]
async fn template_authority() {
    let soa = r#"template ANY ANY invalid {
        rcode NXDOMAIN
        authority "invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"
    }"#;
    let chaos = Ask { class: DNSClass::CH, ..asking("a.invalid.", RecordType::TXT) };
    for (question, class) in [(asking("a.invalid.", RecordType::A), "IN"), (chaos, "CH")] {
        let got = reply(ask(soa, &question).await);
        assert_eq!(
            texts(&got.authority),
            [format!("invalid. 60 {class} SOA ns.invalid. hostmaster.invalid. 1 60 60 60 60")]
        );
        assert!(got.answers.is_empty() && got.rcode == ResponseCode::NXDomain);
    }
    assert!(plugins(soa).unwrap()[0].takes_other_classes());
    assert!(!plugins("template IN ANY {\n rcode NXDOMAIN\n}").unwrap()[0].takes_other_classes());
}

#[tokio::test]
async fn template_additional() {
    let mx = r#"template IN MX example {
        match "^ip-10-(?P<b>[0-9]+)\.example\.$"
        answer "{{ .Name }} 60 IN MX 10 {{ .Name }}"
        additional "{{ .Name }} 60 IN A 10.0.0.{{ .Group.b }}"
    }"#;
    let got = reply(ask(mx, &asking("ip-10-7.example.", RecordType::MX)).await);
    assert_eq!(texts(&got.answers), ["ip-10-7.example. 60 IN MX 10 ip-10-7.example."]);
    assert_eq!(texts(&got.additional), ["ip-10-7.example. 60 IN A 10.0.0.7"]);
}

#[tokio::test]
async fn template_rcode() {
    let a = asking("a.", RecordType::A);
    for (word, want) in [
        ("NXDOMAIN", ResponseCode::NXDomain),
        ("REFUSED", ResponseCode::Refused),
        ("YXDOMAIN", ResponseCode::YXDomain),
    ] {
        let got = reply(ask(&format!("template ANY ANY {{\n rcode {word}\n}}"), &a).await);
        assert_eq!((got.rcode, got.authoritative, got.plugin), (want, true, NAME), "{word}");
    }
    // The server's own error, as in CoreDNS: not authoritative.
    let failed = ask("template ANY ANY {\n rcode SERVFAIL\n}", &a).await;
    assert!(matches!(&failed, Outcome::Failed(f) if f.rcode == ResponseCode::ServFail), "{failed:?}");
}

#[tokio::test]
async fn template_ederror() {
    let a = asking("a.", RecordType::A);
    let ede = async |lines: &str| match ask(&format!("template ANY ANY {{\n {lines}\n}}"), &a).await {
        Outcome::Reply(reply) => reply.ede,
        Outcome::Failed(failure) => failure.ede,
        Outcome::Silence => None,
    };
    assert_eq!(ede("rcode NXDOMAIN").await, None);
    let said = |text: &str| Some(Ede { code: EdeCode::Code(21), text: text.to_owned() });
    assert_eq!(
        ede("rcode NXDOMAIN\n ederror 21 \"Blocked according to RFC2606\"").await,
        said("Blocked according to RFC2606")
    );
    assert_eq!(ede("rcode SERVFAIL\n ederror 21").await, said(""));
}

#[test]
fn template_upstream() {
    let logs = Logs::capture("");
    plugins("template ANY ANY {\n rcode NXDOMAIN\n}").unwrap();
    assert_eq!(logs.take().len(), 0);
    plugins("template ANY ANY {\n rcode NXDOMAIN\n upstream 10.0.0.1\n}").unwrap();
    let lines = logs.take();
    assert!(lines[0].contains("'upstream' at Corefile:4 has no effect"), "{lines:?}");
}

#[tokio::test]
async fn aliases_are_followed() {
    let cname = r#"template IN ANY foogle.test {
        match "^foogle\.test\.$"
        answer "foogle.test 60 IN CNAME www.example"
        fallthrough
    }"#;
    let chain = chain(cname, |query| match query.name().to_ascii().as_str() {
        "www.example." => Reply {
            answers: vec![
                made("www.example.", RData::CNAME(CNAME(presentation::name("b.example.").unwrap()))),
                address("b.example.", "192.0.2.1"),
            ],
            ..Reply::new(ResponseCode::NoError, "last")
        }
        .into(),
        _ => Outcome::error("no upstream"),
    });
    let router = router(chain);
    let ask = async |kind| {
        let query = asking("Foogle.test.", kind).by(&router);
        texts(&reply(router.resolve(&query).await).answers)
    };
    let alias = "foogle.test. 60 IN CNAME www.example.";
    assert_eq!(
        ask(RecordType::A).await,
        [alias, "www.example. 30 IN CNAME b.example.", "b.example. 30 IN A 192.0.2.1"]
    );
    assert_eq!(ask(RecordType::TXT).await, [alias]);
    assert_eq!(ask(RecordType::CNAME).await, [alias]);
    // An alias to itself ends.
    let looped = r#"template IN A {
        answer "a. 60 IN CNAME a."
    }"#;
    let router = crate::node::test_support::router(templates(looped));
    let query = asking("a.", RecordType::A).by(&router);
    let answers = reply(router.resolve(&query).await).answers.len();
    assert!((2..=11).contains(&answers), "{answers}");
}

/// What a cache has under way for a name must not be waited for by what that leads to.
#[tokio::test(start_paused = true)]
async fn aliases_in_a_ring_end_behind_a_cache() {
    let alias = |from: &str, to: &str| {
        format!("template IN A {from} {{\n match ^{from}\n answer \"{from} 60 IN CNAME {to}\"\n}}")
    };
    for (case, directives, names) in [
        ("an alias to itself", alias("a.", "a."), ["a.", "a."]),
        ("two to each other", format!("{}\n{}", alias("a.", "b."), alias("b.", "a.")), ["a.", "b."]),
    ] {
        let router = router(templates(&format!("cache\n{directives}")));
        let [one, other] = names.map(|name| asking(name, RecordType::A).by(&router));
        let both = futures_util::future::join(router.resolve(&one), router.resolve(&other));
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), both).await;
        let (one, other) = ended.unwrap_or_else(|_| panic!("{case}: no reply"));
        for outcome in [one, other] {
            let answers = reply(outcome).answers.len();
            assert!((2..=11).contains(&answers), "{case}: {answers}");
        }
    }
}

#[tokio::test]
async fn zones_are_the_block_s_unless_they_are_named_and_the_longest_counts() {
    let zone = r#"template IN TXT example b.example {
        answer "{{ .Name }} IN TXT {{ .Zone }}"
    }"#;
    assert_eq!(
        answers(zone, &asking("a.b.example.", RecordType::TXT)).await,
        ["a.b.example. 3600 IN TXT b.example."]
    );
    assert_eq!(
        answers(zone, &asking("b.a.example.", RecordType::TXT)).await,
        ["b.a.example. 3600 IN TXT example."]
    );
    assert_eq!(ask(zone, &asking("b.", RecordType::TXT)).await.rcode(), ResponseCode::Refused);
    let plan = Builder::default().check("a.example {\n template ANY ANY {\n rcode NXDOMAIN\n}\n}\n").unwrap();
    let of_block = plan.servers[0].routes[0].block.plugins.clone();
    assert_eq!(run(&of_block, &asking("x.a.example.", RecordType::A)).await.rcode(), ResponseCode::NXDomain);
    let outside = run(&of_block, &asking("b.example.", RecordType::A)).await;
    assert!(matches!(outside, Outcome::Failed(f) if f.error.is_some()), "no next plugin");
}

#[tokio::test]
async fn matches_and_failures_are_counted() {
    let metrics = Arc::new(Metrics::new());
    let text = r#".:53 {
        template IN ANY example.test {
            match "^(.*)\.(.*)\.example\.test\.$"
            answer "{{ .Name }} IN A {{ parseInt (index .Match 1) 10 8 }}.0.0.{{ index .Match 2 }}"
        }
    }"#;
    let corefile = corefile::parse(text, "Corefile", &LoadOptions::default()).unwrap();
    let directive = corefile.blocks[0].all(NAME).next().unwrap();
    let template = options::read(directive, &[], &mut vec![]).unwrap();
    let source = template.answer[0].source().to_owned();
    let plugin = Templates { templates: vec![template], metrics: metrics.clone() };
    let chain: Chain = [Arc::new(plugin) as Arc<dyn Plugin>].into();
    let ask = async |name| run(&chain, &asking(name, RecordType::A)).await;
    assert_eq!(ask("10.1.example.test.").await.rcode(), ResponseCode::NoError);
    for (name, why) in [("x.1.example.test.", "parseInt"), ("10.x.example.test.", "is no IPv4 address")] {
        match ask(name).await {
            Outcome::Failed(Failure { rcode: ResponseCode::ServFail, error: Some(error), .. }) => {
                assert!(error.starts_with("plugin/template: answer '") && error.contains(why), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let text = metrics.render();
    let labels = r#"server="dns://:53",zone="example.test.",view="",class="IN",type="A""#;
    let source = source.replace('"', "\\\"");
    for line in [
        format!("coredns_template_matches_total{{{labels}}} 3"),
        format!(
            "coredns_template_template_failures_total{{{labels},section=\"answer\",template=\"{source}\"}} 1"
        ),
        format!("coredns_template_rr_failures_total{{{labels},section=\"answer\",template=\"{source}\"}} 1"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (line, directive, why) in [
        (2, "template", "write 'template CLASS TYPE [ZONE...] { ... }'"),
        (2, "template IN", "write 'template CLASS TYPE"),
        (2, "template in A {\n rcode NXDOMAIN\n}", "invalid query class in"),
        (2, "template IN a {\n rcode NXDOMAIN\n}", "invalid RR type a"),
        (2, "template IN A", "no answer section for template found"),
        (2, "template IN A {\n additional \"a. IN A 10.0.0.1\"\n}", "no answer section for template found"),
        (3, "template IN A {\n match\n}", "write 'match REGEX...'"),
        (3, "template IN A {\n match (\n}", "'(' is not a regular expression"),
        (3, "template IN A {\n answer\n}", "write 'answer RR...'"),
        (
            3,
            "template IN A {\n answer \"{{ .Nmae }} IN A 10.0.0.1\"\n}",
            "could not compile template, column 4: there is no field .Nmae",
        ),
        (3, "template IN A {\n answer \"a. IN A 10.0.0\"\n}", "'10.0.0' is no IPv4 address"),
        (3, "template IN A {\n answer \"a. IN LOC 1 2\"\n}", "LENGTH HEXADECIMAL"),
        (3, "template IN A {\n answer \" \"\n}", "it is empty"),
        (3, "template IN A {\n rcode nxdomain\n}", "unknown rcode nxdomain"),
        (3, "template IN A {\n rcode\n}", "write 'rcode CODE'"),
        (3, "template IN A {\n ederror x\n}", "from 0 to 65535"),
        (3, "template IN A {\n var x\n}", "write 'var NAME EXPRESSION'"),
        (3, "template IN A {\n var 1x 1\n}", "'1x' is no name of a variable"),
        (3, "template IN A {\n expr\n}", "write 'expr EXPRESSION'"),
        (
            3,
            "template IN A {\n expr x == 1\n}",
            "could not compile expression, column 1: there is no variable 'x'",
        ),
        (3, "template IN A {\n anwser x\n}", "unknown property 'anwser'; did you mean 'answer'?"),
    ] {
        let error = refusal(directive);
        assert!(
            error.starts_with(&format!("Corefile:{line} - ")) && error.contains(why),
            "{directive}: {error}"
        );
    }
}

#[tokio::test]
async fn aks_s_blocks_work() {
    let text = include_str!("../../../../tests/corefile/fixtures/aks.corefile");
    let corefile = corefile::parse(text, "Corefile", &LoadOptions::default()).unwrap();
    let directives = corefile.blocks[0].all(NAME);
    let templates: Vec<_> = directives.map(|d| options::read(d, &[], &mut vec![]).unwrap()).collect();
    assert_eq!(templates.len(), 2);
    let plugin: Arc<dyn Plugin> = Arc::new(Templates { templates, metrics: Arc::new(Metrics::new()) });
    let last = chain("debug", |_| Reply::new(ResponseCode::NoError, "last").into());
    let chain: Chain = [&[plugin][..], &last[..]].concat().into();
    for (name, want) in [
        ("herd.shop.svc.cluster.local.internal.example.net.", ResponseCode::NXDomain),
        ("vm.internal.example.net.", ResponseCode::NoError),
        ("vm.reddog.example.com.", ResponseCode::NXDomain),
        ("example.com.", ResponseCode::NoError),
    ] {
        for kind in [RecordType::A, RecordType::AAAA] {
            assert_eq!(run(&chain, &asking(name, kind)).await.rcode(), want, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn no_query_makes_it_panic(
        labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..6),
        kind in prop_oneof![Just(RecordType::A), Just(RecordType::TXT), Just(RecordType::CNAME), Just(RecordType::ANY)],
    ) {
        let directive = r#"template ANY ANY {
            match "^(?P<first>[^.]*)[.](.*)$" ".*"
            answer "{{ .Name }} {{ .Class }} {{ if eq .Type \"A\" }}A 10.0.0.1{{ else }}{{ .Type }} {{ index .Match 0 }}{{ end }}"
            additional "{{ .Name }} IN CAA 0 issue {{ .Group.first }}"
            additional "{{ .Name }} IN HTTPS 1 . {{ .Group.first }}"
        }"#;
        let router = router(templates(directive));
        let name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
        let query = asking("a.", kind).by(&router).changed(|m| { m.queries[0].set_name(name); }).unwrap();
        let outcome = router.resolve(&query).now_or_never().expect("nothing waits");
        if let Outcome::Reply(reply) = outcome {
            prop_assert!(crate::node::reply::encode(&query, &reply).is_some());
        }
    }
}
