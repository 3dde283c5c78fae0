#!/bin/bash
# The shell agent in the cluster of pcs-examples/three-nodes-vip.sh, in synchronous mode, with the intervals of its guide.
set -euo pipefail

NODES=${NODES:-"srv1 srv2 srv3"}
# The address that clients connect to: it follows the primary.
VIP=${VIP:-192.0.2.100}
VIP_PREFIX=${VIP_PREFIX:-24}
BINDIR=${BINDIR:-/usr/lib/postgresql/15/bin}
PGDATA=${PGDATA:-/var/lib/postgresql/15/main}
AGENT=${AGENT:-ocf:heartbeat:pgsql}
# One fence device per node; %n stands for the node's name.
FENCE_AGENT=${FENCE_AGENT:-fence_ipmilan}
FENCE_OPTIONS=${FENCE_OPTIONS:-"ip=%n-ipmi username=admin password=secret lanplus=1"}

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
# An instance that failed five times on a node waits for a person (pcs resource cleanup).
pcs -f "$cib" resource defaults update migration-threshold=5

for node in $NODES; do
    pcs -f "$cib" stonith create "fence_$node" "$FENCE_AGENT" ${FENCE_OPTIONS//%n/$node} \
        pcmk_host_list="$node" op monitor interval=60s
    # No node shoots itself.
    pcs -f "$cib" constraint location "fence_$node" avoids "$node=INFINITY"
done

pcs -f "$cib" resource create pgsql "$AGENT" \
    pgctl="$BINDIR/pg_ctl" psql="$BINDIR/psql" pgdata="$PGDATA" config="$PGDATA/postgresql.conf" \
    socketdir=/var/run/postgresql logfile=/var/log/postgresql/agent.log tmpdir=/var/lib/postgresql/agent \
    rep_mode=sync node_list="$NODES" master_ip="$VIP" repuser=replicator \
    primary_conninfo_opt="keepalives_idle=60 keepalives_interval=5 keepalives_count=5" \
    op start timeout=60s \
    op stop timeout=60s \
    op promote timeout=60s \
    op demote timeout=60s \
    op monitor interval=3s timeout=60s role=Promoted \
    op monitor interval=4s timeout=60s role=Unpromoted \
    op notify timeout=60s \
    promotable promoted-max=1 notify=true

pcs -f "$cib" resource create pgsql-vip ocf:heartbeat:IPaddr2 ip="$VIP" cidr_netmask="$VIP_PREFIX" \
    op monitor interval=10s

# The address is where the primary is. It comes after promote and goes after demote, the latter optional as in the agent's
# guide: its demote leaves the instance stopped, and a mandatory order would then block the stop of the address.
pcs -f "$cib" constraint colocation add pgsql-vip with Promoted pgsql-clone INFINITY
pcs -f "$cib" constraint order promote pgsql-clone then start pgsql-vip symmetrical=false kind=Mandatory
pcs -f "$cib" constraint order demote pgsql-clone then stop pgsql-vip symmetrical=false kind=Optional

pcs cluster cib-push "$cib" diff-against="$cib.before"
