# Rolls the pods whose certificates changed since this looked last, of those that
# are read only once: every CA, and the one that konnectivity's server shows. Other
# leaf certificates are read again by themselves. Wants NAME and WORKLOADS, words of
# the form KIND/NAME=SECRET,SECRET…
set -eu
key=moonfarm.dev/pki
for entry in $WORKLOADS; do
    workload=${entry%%=*}
    secrets=$(echo "${entry#*=}" | tr , ' ')
    now=$(for secret in $secrets; do
        kubectl get secret "$secret" -o 'jsonpath={.data.tls\.crt}'
    done | sha256sum | cut -c 1-16)
    was=$(kubectl get "$workload" -o 'jsonpath={.metadata.annotations.moonfarm\.dev/pki}')
    if [ "$now" = "$was" ]; then
        continue
    fi
    if [ -n "$was" ]; then
        echo "$workload: its certificates changed, rolling"
        kubectl patch "$workload" --type merge \
            -p "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"$key\":\"$now\"}}}}}"
    fi
    kubectl annotate --overwrite "$workload" "$key=$now"
done
