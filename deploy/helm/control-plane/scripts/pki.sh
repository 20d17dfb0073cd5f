# Makes what is missing of the PKI, and every leaf certificate anew, with kubeadm;
# keeps CAs and the service accounts' key for ever. Wants NAME, kubeadm, kubectl.
set -eu
export HOME=/work
pki=/work/pki
mkdir -p "$pki/etcd"

# fetch SECRET CERTIFICATE-FILE KEY-FILE: takes over what an earlier run made.
fetch() {
    kubectl get secret "$NAME-pki-$1" -o 'jsonpath={.data.tls\.crt}' >/work/crt 2>/work/error || {
        grep -q NotFound /work/error || { cat /work/error >&2; exit 1; }
        return 0
    }
    base64 -d </work/crt >"$pki/$2"
    kubectl get secret "$NAME-pki-$1" -o 'jsonpath={.data.tls\.key}' | base64 -d >"$pki/$3"
    echo "kept: $1"
}

# store SECRET CERTIFICATE-FILE KEY-FILE
store() {
    kubectl create secret generic "$NAME-pki-$1" --from-file="tls.crt=$2" --from-file="tls.key=$3" \
        --dry-run=client -o yaml | kubectl apply --server-side --force-conflicts --field-manager=pki -f -
}

# client SECRET USER [GROUP]: a client certificate of the cluster's CA.
client() {
    kubeadm kubeconfig user --config /config/pki.yaml --client-name "$2" ${3:+--org "$3"} >/work/user.conf
    for part in certificate key; do
        kubectl --kubeconfig /work/user.conf config view --raw \
            -o "jsonpath={.users[0].user.client-$part-data}" | base64 -d >"/work/user.$part"
    done
    store "$1" /work/user.certificate /work/user.key
}

fetch ca ca.crt ca.key
fetch front-proxy-ca front-proxy-ca.crt front-proxy-ca.key
fetch etcd-ca etcd/ca.crt etcd/ca.key
fetch sa sa.pub sa.key
kubeadm init phase certs all --config /config/pki.yaml

store ca "$pki/ca.crt" "$pki/ca.key"
store front-proxy-ca "$pki/front-proxy-ca.crt" "$pki/front-proxy-ca.key"
store etcd-ca "$pki/etcd/ca.crt" "$pki/etcd/ca.key"
store sa "$pki/sa.pub" "$pki/sa.key"
for leaf in apiserver apiserver-kubelet-client apiserver-etcd-client front-proxy-client; do
    store "$leaf" "$pki/$leaf.crt" "$pki/$leaf.key"
done
for leaf in server peer healthcheck-client; do
    store "etcd-$leaf" "$pki/etcd/$leaf.crt" "$pki/etcd/$leaf.key"
done
client controller-manager system:kube-controller-manager
client scheduler system:kube-scheduler
client admin kubernetes-admin system:masters
client konnectivity-server system:konnectivity-server
