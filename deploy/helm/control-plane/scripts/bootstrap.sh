# From running API servers to a cluster that nodes can join, by the phases of
# `kubeadm init`; run again after every upgrade. Wants NAME, NAMESPACE, ENDPOINT.
set -eu
export HOME=/work
admin=/etc/kubernetes/kubeconfig/admin.conf
inside() { kubectl --kubeconfig "$admin" "$@"; }
phase() { kubeadm init phase "$@" --config /work/kubeadm.yaml --kubeconfig /work/admin.conf; }

echo "waiting for the API server"
until inside get --raw /readyz --request-timeout 5s >/work/ready 2>&1; do
    tail -n 1 /work/ready
    sleep 2
done

# kubeadm puts the kubeconfig that it is given into cluster-info, so key files
# that only this pod has would be no use there.
inside config view --flatten --minify >/work/admin.conf

# A token of our own to try joins with: those of machines that are booting stay.
try=$(kubeadm token generate)
sed "s|^kind: InitConfiguration|&\nbootstrapTokens: [{token: $try, ttl: 1m}]|" \
    /config/kubeadm.yaml >/work/kubeadm.yaml

phase upload-config all
# Rights of the administrators' group; `kubeadm init` as a whole would give them.
inside create clusterrolebinding kubeadm:cluster-admins --clusterrole=cluster-admin \
    --group=kubeadm:cluster-admins --dry-run=client -o yaml | inside apply -f -
phase bootstrap-token --skip-token-print
inside -n kube-system delete secret "bootstrap-token-${try%%.*}"

# Nodes come from outside: they need the public endpoint, not the Service's name.
inside -n kube-public get configmap cluster-info -o 'jsonpath={.data.kubeconfig}' \
    | sed "s|server: .*|server: https://$ENDPOINT|" >/work/kubeconfig
inside -n kube-public create configmap cluster-info --from-file=kubeconfig=/work/kubeconfig \
    --dry-run=client -o yaml | inside apply --server-side --force-conflicts -f -

[ "$COREDNS" = true ] && phase addon coredns
[ "$KUBE_PROXY" = true ] && phase addon kube-proxy
for file in /manifests/*.yaml; do
    inside apply -f "$file"
done

[ "$MOONFARM" = true ] || exit 0
echo "writing Cluster $CLUSTER for Moonfarm"
until token=$(inside -n kube-system get secret moonfarm -o 'jsonpath={.data.token}') && [ -n "$token" ]; do
    sleep 1
done
printf %s "$token" | base64 -d >/work/token
inside -n kube-system get secret moonfarm -o 'jsonpath={.data.ca\.crt}' | base64 -d >/work/ca.crt
outside=/work/moonfarm.conf
rm -f "$outside"
kubectl --kubeconfig "$outside" config set-cluster "$CLUSTER" --server "https://$ENDPOINT" \
    --certificate-authority /work/ca.crt --embed-certs
kubectl --kubeconfig "$outside" config set-credentials moonfarm --token "$(cat /work/token)"
kubectl --kubeconfig "$outside" config set-context moonfarm --cluster "$CLUSTER" --user moonfarm
kubectl --kubeconfig "$outside" config use-context moonfarm
kubectl -n "$MOONFARM_NAMESPACE" create secret generic "$CLUSTER-kubeconfig" \
    --from-file=kubeconfig="$outside" --dry-run=client -o yaml \
    | kubectl apply --server-side --force-conflicts --field-manager=control-plane -f -

# kubeadm prints the hash; the token dies at once.
hash=$(kubeadm token create --ttl 1s --print-join-command --kubeconfig /work/admin.conf \
    | sed 's/.*--discovery-token-ca-cert-hash \(sha256:[0-9a-f]*\).*/\1/')
kubectl apply --server-side --force-conflicts --field-manager=control-plane -f - <<EOF
apiVersion: moonfarm.dev/v1alpha1
kind: Cluster
metadata:
  name: $CLUSTER
  namespace: $MOONFARM_NAMESPACE
spec:
  endpoint: $ENDPOINT
  caCertHashes: ["$hash"]
  kubeconfigSecret: $CLUSTER-kubeconfig
  tokenLifetime: $TOKEN_LIFETIME
EOF
