#!/bin/bash
# Three nodes, one virtual address, with crmsh. Run it as root on one node; every setting can be given in the environment.
#
# Before: the same version of PostgreSQL on all nodes, one primary and two standbys made by pg_basebackup, all of them
# stopped, none of them started by systemd; on each node `primary_conninfo` with host=$VIP and application_name=<its name>.
set -euo pipefail

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

# Needs SSH between the nodes. SKIP_SETUP=1 when the cluster is formed already.
if [ -z "${SKIP_SETUP:-}" ]; then
    set -- $NODES
    crm cluster init --yes --nodes "$NODES"
fi

definition=$(mktemp)
trap 'rm -f "$definition"' EXIT

for node in $NODES; do
    cat <<END
primitive fence_$node stonith:$FENCE_AGENT \\
    params ${FENCE_OPTIONS//%n/$node} pcmk_host_list=$node \\
    op monitor interval=60s
# No node shoots itself.
location fence_${node}_elsewhere fence_$node -inf: $node
END
done >"$definition"

cat >>"$definition" <<END
primitive pgsql $AGENT \\
    params bindir=$BINDIR pgdata=$PGDATA \\
    op start timeout=60s interval=0 \\
    op stop timeout=60s interval=0 \\
    op promote timeout=60s interval=0 \\
    op demote timeout=120s interval=0 \\
    op monitor interval=2s timeout=10s role=Promoted \\
    op monitor interval=10s timeout=10s role=Unpromoted \\
    op notify timeout=60s interval=0
clone pgsql-clone pgsql \\
    meta promotable=true promoted-max=1 notify=true
primitive pgsql-vip ocf:heartbeat:IPaddr2 \\
    params ip=$VIP cidr_netmask=$VIP_PREFIX \\
    op monitor interval=10s
# The address is where the primary is. It comes after promote and goes after demote: the old primary's standbys and
# clients are served until its last record has been sent.
# The latter is optional: when a plan is given up after the demotion, the next one has no demotion in it, and a mandatory
# order would keep the address on the old node.
colocation pgsql-vip_with_primary inf: pgsql-vip:Started pgsql-clone:Promoted
order promote_then_vip Mandatory: pgsql-clone:promote pgsql-vip:start symmetrical=false
order demote_then_no_vip Optional: pgsql-clone:demote pgsql-vip:stop symmetrical=false
# Without quorum everything stops: a part of the cluster that is not the larger one must not write.
property stonith-enabled=true no-quorum-policy=stop start-failure-is-fatal=false
# No resource moves back by itself. What failed, a start included, is tried again on its node; after five times the node is
# left alone for a minute. Then the failures are forgotten: a node whose trouble is over (a full volume, for instance) comes
# back by itself.
rsc_defaults resource-stickiness=10 migration-threshold=5 failure-timeout=60s
END

# One change, so that nothing starts before fencing and the constraints are there.
crm -F configure load update "$definition"
