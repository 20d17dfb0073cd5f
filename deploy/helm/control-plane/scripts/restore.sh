# Fills an empty data folder from a snapshot, before etcd starts: SNAPSHOT, a file
# of /backup or `latest`; POD_NAME, DOMAIN, MEMBERS and TOKEN as etcd has them.
set -eu
data=/var/lib/etcd/data
if [ -e "$data" ]; then
    echo "there is data in $data already: nothing is restored"
    exit 0
fi
if [ "$SNAPSHOT" = latest ]; then
    SNAPSHOT=$(ls -1 /backup | grep '^etcd-.*\.db$' | sort | tail -n 1)
fi
echo "restoring $SNAPSHOT"
# Watchers must not see revisions go backwards, so the new ones begin far above.
etcdutl snapshot restore "/backup/$SNAPSHOT" --data-dir "$data" --name "$POD_NAME" \
    --initial-cluster "$MEMBERS" --initial-cluster-token "$TOKEN" \
    --initial-advertise-peer-urls "https://$POD_NAME.$DOMAIN:2380" \
    --bump-revision 1000000000 --mark-compacted
