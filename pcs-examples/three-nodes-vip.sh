#!/bin/bash
# Three nodes, one virtual address, with pcs. Run it as root on one node; every setting can be given in the environment.
#
# Before: the same version of PostgreSQL on all nodes, one primary and two standbys made by pg_basebackup, all of them
# stopped, none of them started by systemd; on each node `primary_conninfo` with host=$VIP and application_name=<its name>.
set -euo pipefail

CLUSTER=${CLUSTER:-pgcluster}
NODES=${NODES:-"srv1 srv2 srv3"}
# The address that clients connect to: it follows the primary.
VIP=${VIP:-192.0.2.100}
VIP_PREFIX=${VIP_PREFIX:-24}
BINDIR=${BINDIR:-/usr/lib/postgresql/15/bin}
PGDATA=${PGDATA:-/var/lib/postgresql/15/main}
AGENT=${AGENT:-ocf:pgbaton:postgresql}
# One fence device per node; %n stands for the node's name.
FENCE_AGENT=${FENCE_AGENT:-fence_ipmilan}
FENCE_OPTIONS=${FENCE_OPTIONS:-"ip=%n-ipmi username=admin password=secret lanplus=1"}

# Needs pcsd on all nodes and the password of the user hacluster. SKIP_SETUP=1 when the cluster is formed already.
if [ -z "${SKIP_SETUP:-}" ]; then
    pcs host auth $NODES -u hacluster
    pcs cluster setup "$CLUSTER" $NODES
    # At boot, too: a fenced node comes back by itself, and the cluster after a loss of all power. Without this line somebody has to
    # type `pcs cluster start` on each node that has booted.
    pcs cluster enable --all
    pcs cluster start --all --wait=60
fi

# Everything below becomes one change, so that nothing starts before fencing and the constraints are there.
cib=$(mktemp)
trap 'rm -f "$cib" "$cib.before"' EXIT
pcs cluster cib "$cib"
cp "$cib" "$cib.before"

pcs -f "$cib" property set stonith-enabled=true
# Without quorum everything stops: a part of the cluster that is not the larger one must not write.
pcs -f "$cib" property set no-quorum-policy=stop
# No resource moves back by itself.
pcs -f "$cib" resource defaults update resource-stickiness=10
# What failed, a start included, is tried again on its node; after five times the node is left alone for a minute. Then the
# failures are forgotten: a node whose trouble is over (a full volume, for instance) comes back by itself.
pcs -f "$cib" property set start-failure-is-fatal=false
pcs -f "$cib" resource defaults update migration-threshold=5 failure-timeout=60s

for node in $NODES; do
    pcs -f "$cib" stonith create "fence_$node" "$FENCE_AGENT" ${FENCE_OPTIONS//%n/$node} \
        pcmk_host_list="$node" op monitor interval=60s
    # No node shoots itself.
    pcs -f "$cib" constraint location "fence_$node" avoids "$node=INFINITY"
done

pcs -f "$cib" resource create pgsql "$AGENT" bindir="$BINDIR" pgdata="$PGDATA" \
    op start timeout=60s \
    op stop timeout=60s \
    op promote timeout=60s \
    op demote timeout=120s \
    op monitor interval=2s timeout=10s role=Promoted \
    op monitor interval=10s timeout=10s role=Unpromoted \
    op notify timeout=60s \
    promotable promoted-max=1 notify=true

pcs -f "$cib" resource create pgsql-vip ocf:heartbeat:IPaddr2 ip="$VIP" cidr_netmask="$VIP_PREFIX" \
    op monitor interval=10s

# The address is where the primary is. It comes after promote and goes after demote: the old primary's standbys and
# clients are served until its last record has been sent.
# The latter is optional: when a plan is given up after the demotion, the next one has no demotion in it, and a mandatory
# order would keep the address on the old node.
pcs -f "$cib" constraint colocation add pgsql-vip with Promoted pgsql-clone INFINITY
pcs -f "$cib" constraint order promote pgsql-clone then start pgsql-vip symmetrical=false kind=Mandatory
pcs -f "$cib" constraint order demote pgsql-clone then stop pgsql-vip symmetrical=false kind=Optional

pcs cluster cib-push "$cib" diff-against="$cib.before"
