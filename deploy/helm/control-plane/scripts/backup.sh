# One snapshot of etcd into /backup, checked, and the oldest removed. Wants
# ENDPOINTS and KEEP.
set -eu
name=/backup/etcd-$(date -u +%Y%m%dT%H%M%SZ).db
# A snapshot is taken of one member.
endpoint=${ENDPOINTS%%,*}
etcdctl --endpoints "$endpoint" --cacert /etc/kubernetes/pki/etcd/ca.crt \
    --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt \
    --key /etc/kubernetes/pki/etcd/healthcheck-client.key \
    snapshot save "$name.partial"
etcdutl snapshot status "$name.partial"
mv "$name.partial" "$name"
ls -1 /backup/etcd-*.db | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do
    rm "$old"
    echo "removed $old"
done
echo "saved $name"
