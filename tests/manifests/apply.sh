#!/bin/sh
# Has a real API server judge every overlay, strictly, without changing anything: sh tests/manifests/apply.sh KUBECONFIG
# Overlays with resources of operators that the cluster does not have are left out, and named.
set -eu
[ $# -eq 1 ] || { echo "usage: sh tests/manifests/apply.sh KUBECONFIG" >&2; exit 2; }
kubeconfig=$1
cd "$(dirname "$0")/../../manifests"

# Says which of its operators' resources the cluster does not have.
missing() {
  case $1 in
    monitoring) set -- podmonitors.monitoring.coreos.com prometheusrules.monitoring.coreos.com ;;
    node-local-cilium) set -- ciliumlocalredirectpolicies.cilium.io ;;
    *) return 0 ;;
  esac
  for crd in "$@"; do
    kubectl --kubeconfig "$kubeconfig" get crd "$crd" >/dev/null 2>&1 || echo "$crd"
  done
}

failed=0
for file in */kustomization.yaml; do
  overlay=${file%/*}
  without=$(missing "$overlay")
  if [ -n "$without" ]; then
    echo "LEFT OUT $overlay: the cluster has no" $without
  elif kubectl --kubeconfig "$kubeconfig" apply --server-side --force-conflicts --dry-run=server --validate=strict -k "$overlay"; then
    echo "FINE $overlay"
  else
    echo "WRONG $overlay"
    failed=1
  fi
done
exit "$failed"
