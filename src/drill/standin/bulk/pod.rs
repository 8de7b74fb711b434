//! A Pod of a Deployment, running.

use super::meta::{Manager, Metadata, Owner};
use super::slice::Node;
use super::text::{Identity, Text};
use crate::zone::object::{Kind, Pod};

/// What the controllers and the kubelet said of the fields that they wrote.
const FIELDS: &str = ",\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"app\\\"}\":{\".\":{},\"f:env\":{\".\":{},\
\"k:{\\\"name\\\":\\\"POD_IP\\\"}\":{\".\":{},\"f:name\":{},\"f:valueFrom\":{\".\":{},\"f:fieldRef\":{}}}},\
\"f:image\":{},\"f:imagePullPolicy\":{},\"f:livenessProbe\":{\".\":{},\"f:failureThreshold\":{},\"f:httpGet\":{\".\":{},\
\"f:path\":{},\"f:port\":{},\"f:scheme\":{}},\"f:periodSeconds\":{},\"f:successThreshold\":{},\"f:timeoutSeconds\":{}},\
\"f:name\":{},\"f:ports\":{\".\":{},\"k:{\\\"containerPort\\\":8080,\\\"protocol\\\":\\\"TCP\\\"}\":{\".\":{},\
\"f:containerPort\":{},\"f:name\":{},\"f:protocol\":{}}},\"f:resources\":{\".\":{},\"f:limits\":{\".\":{},\"f:memory\":{}},\
\"f:requests\":{\".\":{},\"f:cpu\":{},\"f:memory\":{}}},\"f:terminationMessagePath\":{},\"f:terminationMessagePolicy\":{}}},\
\"f:dnsPolicy\":{},\"f:enableServiceLinks\":{},\"f:restartPolicy\":{},\"f:schedulerName\":{},\"f:securityContext\":{},\
\"f:terminationGracePeriodSeconds\":{}},\"f:status\":{\"f:conditions\":{\"k:{\\\"type\\\":\\\"Ready\\\"}\":{\".\":{},\
\"f:lastProbeTime\":{},\"f:lastTransitionTime\":{},\"f:status\":{},\"f:type\":{}}},\"f:containerStatuses\":{},\
\"f:hostIP\":{},\"f:hostIPs\":{},\"f:phase\":{},\"f:podIP\":{},\"f:podIPs\":{},\"f:startTime\":{}}";

/// `spec` up to the node's name: one container, and the volume of its token.
const SPEC: &str = ",\"spec\":{\"volumes\":[{\"name\":\"kube-api-access-x7k2p\",\"projected\":{\"sources\":[\
{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}},{\"configMap\":{\"name\":\"kube-root-ca.crt\",\
\"items\":[{\"key\":\"ca.crt\",\"path\":\"ca.crt\"}]}},{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":\
{\"apiVersion\":\"v1\",\"fieldPath\":\"metadata.namespace\"}}]}}],\"defaultMode\":420}}],\"containers\":[{\"name\":\"app\",\
\"image\":\"registry.example/app:1.17.0\",\"ports\":[{\"name\":\"http\",\"containerPort\":8080,\"protocol\":\"TCP\"}],\
\"env\":[{\"name\":\"POD_IP\",\"valueFrom\":{\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":\"status.podIP\"}}}],\
\"resources\":{\"limits\":{\"memory\":\"512Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"256Mi\"}},\"volumeMounts\":[\
{\"name\":\"kube-api-access-x7k2p\",\"readOnly\":true,\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\"}],\
\"livenessProbe\":{\"httpGet\":{\"path\":\"/healthz\",\"port\":\"http\",\"scheme\":\"HTTP\"},\"timeoutSeconds\":1,\
\"periodSeconds\":10,\"successThreshold\":1,\"failureThreshold\":3},\"terminationMessagePath\":\"/dev/termination-log\",\
\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"IfNotPresent\"}],\"restartPolicy\":\"Always\",\
\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\",\"serviceAccountName\":\"default\",\
\"serviceAccount\":\"default\",\"nodeName\":";

/// The rest of `spec`, and `status` up to the addresses.
const STATUS: &str = ",\"securityContext\":{},\"schedulerName\":\"default-scheduler\",\"tolerations\":[{\"key\":\
\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300},{\"key\":\
\"node.kubernetes.io/unreachable\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}],\
\"priority\":0,\"enableServiceLinks\":true,\"preemptionPolicy\":\"PreemptLowerPriority\"},\"status\":{\"phase\":\"Running\",\
\"conditions\":[{\"type\":\"Initialized\",\"status\":\"True\",\"lastProbeTime\":null,\"lastTransitionTime\":\
\"2026-11-22T16:57:01Z\"},{\"type\":\"Ready\",\"status\":\"True\",\"lastProbeTime\":null,\"lastTransitionTime\":\
\"2026-11-22T16:57:04Z\"},{\"type\":\"ContainersReady\",\"status\":\"True\",\"lastProbeTime\":null,\"lastTransitionTime\":\
\"2026-11-22T16:57:04Z\"},{\"type\":\"PodScheduled\",\"status\":\"True\",\"lastProbeTime\":null,\"lastTransitionTime\":\
\"2026-11-22T16:57:01Z\"}],\"hostIP\":\"192.0.2.23\",\"hostIPs\":[{\"ip\":\"192.0.2.23\"}],\"podIP\":";

/// What comes after the addresses.
const CONTAINERS: &str = ",\"startTime\":\"2026-11-22T16:57:01Z\",\"containerStatuses\":[{\"name\":\"app\",\"state\":\
{\"running\":{\"startedAt\":\"2026-11-22T16:57:03Z\"}},\"lastState\":{},\"ready\":true,\"restartCount\":0,\"image\":\
\"registry.example/app:1.17.0\",\"imageID\":\"registry.example/app@sha256:\
9b2cf1a2d5c8e7f60413b2a19c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d\",\"containerID\":\"containerd://\
0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9\",\"started\":true}],\"qosClass\":\"Burstable\"}}";

/// Writes all of it but the bracket that opens it.
pub(super) fn write(o: &Pod, out: &mut Text) {
    // `web-0-6bcd5f7c9d-x7k2p` is the ReplicaSet `web-0-6bcd5f7c9d`'s, `web-0` the StatefulSet `web`'s.
    let (owner, _) = o.name.rsplit_once('-').unwrap_or((&o.name, ""));
    let mut labels: Vec<_> = o.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    labels.extend([("app.kubernetes.io/name", owner), ("pod-template-hash", "6bcd5f7c9d")]);
    let uid = Identity::of(Kind::Pod, &o.namespace, owner);
    Metadata {
        name: &o.name,
        generate_name: &format!("{owner}-"),
        namespace: &o.namespace,
        labels,
        annotations: vec![("kubectl.kubernetes.io/restartedAt", "2026-11-22T16:56:58Z")],
        owner: Some(Owner { version: "apps/v1", kind: "ReplicaSet", name: owner, uid }),
        manager: Manager { name: "kube-controller-manager", version: "v1", before: "", after: FIELDS },
        ..Metadata::default()
    }
    .write(Kind::Pod, out);
    out.raw(SPEC);
    Node::of(o.ip).name(out);
    out.raw(STATUS).quoted(o.ip).raw(",\"podIPs\":[{\"ip\":").quoted(o.ip).raw("}]").raw(CONTAINERS);
}
