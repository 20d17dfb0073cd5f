// Modules whose CustomResourceDefinitions the charts' objects are checked with:
// cert-manager's and the Prometheus operator's. Nothing of them is built.
module moonfarm.dev/deploy/helm/crds

go 1.25.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
