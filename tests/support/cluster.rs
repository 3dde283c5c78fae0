//! A cluster of scripted tools: attributes in files, every call recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

use super::attributes::Attributes;
use super::node::{Node, init_template};

/// Records the call, then hangs or fails if it is told to.
const PREAMBLE: &str = r#"#!/bin/sh
store=@STORE@
me=@NODE@
line="$me ${0##*/}"
for word in "$@"; do line="$line [$word]"; done
printf '%s\n' "$line" >>"$store/calls"
if [ -e "$store/hanging" ]; then exec sleep 600; fi
if [ -e "$store/broken" ]; then echo "Error: cluster is not available" >&2; exit 102; fi
"#;

/// The options are those that Pacemaker 3.0.2 still has. The answer for an unknown name and the empty value of
/// a removed one are those of 2.1.5.
const ATTRD_UPDATER: &str = r#"
name= node=$me action= value=
while [ $# -gt 0 ]; do
    case $1 in
        -n) name=$2; shift 2 ;;
        -U) action=update value=$2; shift 2 ;;
        -D) action=delete; shift ;;
        -Q) action=query; shift ;;
        -R) action=refresh; shift ;;
        -N) node=$2; shift 2 ;;
        -A|-p) shift ;;
        *) echo "unknown option: $1" >&2; exit 64 ;;
    esac
done
all=$store/attributes/$name
case $action in
    update) mkdir -p "$all" && printf '%s' "$value" >"$all/.$node.$$" && mv "$all/.$node.$$" "$all/$node" ;;
    delete) if [ -e "$all/$node" ]; then : >"$all/.$node.$$" && mv "$all/.$node.$$" "$all/$node"; fi ;;
    query)
        if [ -e "$store/nonsense" ]; then cat "$store/nonsense"; exit 0; fi
        if [ ! -d "$all" ]; then echo "Could not query value of $name: attribute does not exist" >&2; exit 78; fi
        for file in "$all"/*; do
            [ -e "$file" ] || continue
            IFS= read -r value <"$file"
            printf 'name="%s" host="%s" value="%s"\n' "$name" "${file##*/}" "$value"
        done ;;
esac
"#;

const CRM_NODE: &str = r#"
case $1 in
    -n) printf '%s\n' "$me" ;;
    -l)
        if [ -e "$store/nonsense" ]; then cat "$store/nonsense"; exit 0; fi
        while read -r member; do printf '%s\n' "$member"; done <"$store/members" ;;
    -p) if [ -e "$store/present" ]; then cat "$store/present"; else echo $(cut -d' ' -f2 "$store/members"); fi ;;
    *) echo "unknown option: $1" >&2; exit 64 ;;
esac
"#;

const CRM_MON: &str = r#"
if [ -e "$store/nonsense" ]; then cat "$store/nonsense"; exit 0; fi
echo '<pacemaker-result><resources><clone id="clone">'
while read -r node; do
    echo "<resource id=\"@RESOURCE@\" role=\"Promoted\"><node name=\"$node\"/></resource>"
done <"$store/promoted"
while read -r node; do
    grep -qx "$node" "$store/promoted" && continue
    echo "<resource id=\"@RESOURCE@\" role=\"Unpromoted\" managed=\"true\"><node name=\"$node\"/></resource>"
done <"$store/running"
while read -r node; do
    echo "<resource id=\"@RESOURCE@\" role=\"Unpromoted\" managed=\"false\"><node name=\"$node\"/></resource>"
done <"$store/unmanaged"
echo '</clone></resources><node_attributes>'
name=pgbaton-@RESOURCE@-address
for file in "$store/attributes/$name"/*; do
    [ -s "$file" ] || continue
    echo "<node name=\"${file##*/}\"><attribute name=\"$name\" value=\"$(cat "$file")\"/></node>"
done
echo '</node_attributes></pacemaker-result>'
"#;

/// The configuration follows the attributes at once. The question for what is permanent has the nodes and the record in one
/// answer, as version 2.1.5 gives it.
const CIBADMIN: &str = r#"
if [ "$1" = --delete ]; then
    name=${3#*@name=\'}
    file=$store/properties/${name%%\'*}
    case $3 in *substring-after*)
        last=${3##*<= }
        [ ! -e "$file" ] || [ "$(cut -d' ' -f2 "$file")" -gt "${last%]}" ] || rm "$file" ;;
    esac
    exit 0
fi
if [ "${3#/cib/configuration/nodes}" != "$3" ]; then
    if [ -e "$store/nonsense" ]; then cat "$store/nonsense"; exit 0; fi
    echo '<xpath-query>'
    for file in "$store/properties"/*; do
        [ ! -e "$file" ] || printf '<nvpair name="%s" value="%s"/>\n' "${file##*/}" "$(cat "$file")"
    done
    echo '<nodes>'
    for node in $({ cut -d' ' -f2 "$store/members"; ls "$store/permanent" 2>/dev/null; } | sort -u); do
        printf '<node id="%s" uname="%s"><instance_attributes id="nodes-%s">\n' "$node" "$node" "$node"
        for file in "$store/permanent/$node"/*; do
            [ -s "$file" ] || continue
            printf '<nvpair name="%s" value="%s"/>\n' "${file##*/}" "$(cat "$file")"
        done
        echo '</instance_attributes></node>'
    done
    echo '</nodes></xpath-query>'
    exit 0
fi
if [ "${3#//primitive}" != "$3" ]; then
    id=${3##*@id=\'}
    grep -qxs -e "${id%%\'*}" "$store/primitives" || exit 105
    echo '<primitive/>'; exit 0
fi
node=${3#*@uname=\'}
file=$store/attributes/master-@RESOURCE@/${node%%\'*}
[ -s "$file" ] || { echo "No such device or address" >&2; exit 105; }
printf '<nvpair value="%s"/>\n' "$(cat "$file")"
"#;

/// Properties of the cluster and permanent attributes of its nodes, which outlive all nodes.
const CRM_ATTRIBUTE: &str = r#"
name= action= value= place=properties
while [ $# -gt 0 ]; do
    case $1 in
        --type|--set-name) shift 2 ;;
        --node) place=permanent/$2; shift 2 ;;
        --name) name=$2; shift 2 ;;
        --update) action=update value=$2; shift 2 ;;
        --query) action=query; shift ;;
        --delete) action=delete; shift ;;
        --quiet) shift ;;
        *) echo "unknown option: $1" >&2; exit 64 ;;
    esac
done
file=$store/$place/$name
case $action in
    update) mkdir -p "$store/$place" && printf '%s' "$value" >"$store/.$name.$$" && mv "$store/.$name.$$" "$file" ;;
    delete) rm -f "$file" ;;
    query)
        if [ -e "$store/nonsense" ]; then cat "$store/nonsense"; exit 0; fi
        [ -e "$file" ] || { echo "Error performing operation: No such device or address" >&2; exit 105; }
        cat "$file" ;;
esac
"#;

static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Several nodes on one machine, with one store of attributes.
#[derive(Debug)]
pub(crate) struct Cluster {
    home: TempDir,
    template: Arc<TempDir>,
    pub(crate) resource: String,
    pub(crate) attributes: Attributes,
}

impl Cluster {
    pub(crate) fn new() -> Arc<Cluster> {
        let home = public_directory();
        let resource = format!("pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let store = home.path().join("store");
        fs::create_dir_all(store.join("attributes")).unwrap();
        let attributes = Attributes::new(&store, &resource);
        Arc::new(Cluster { home, template: template(), resource, attributes })
    }

    /// A node with an instance that was made by initdb and never started.
    pub(crate) fn node(self: &Arc<Self>, name: &str) -> Node {
        let node = Node::new(self.clone(), name);
        node.copy_from(&self.template.path().join("data"));
        node
    }

    /// A node with a copy of the running primary, made by pg_basebackup and not started.
    pub(crate) fn backup_of(self: &Arc<Self>, primary: &Node, name: &str) -> Node {
        let node = Node::new(self.clone(), name);
        node.back_up(primary);
        node
    }

    /// A primary and standbys that follow it, all running.
    pub(crate) fn replicating(self: &Arc<Self>, primary: &str, standbys: &[&str]) -> (Node, Vec<Node>) {
        let primary = self.node(primary);
        primary.run_as_primary();
        self.move_address_to(&primary);
        let standbys: Vec<_> = standbys.iter().map(|name| self.backup_of(&primary, name)).collect();
        for standby in &standbys {
            standby.run_as_standby();
            primary.await_streaming(&standby.name);
        }
        (primary, standbys)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The tools of one node. As the real ones do, they know by themselves where they run.
    pub(crate) fn install_tools(&self, node: &str) -> PathBuf {
        let store = self.home.path().join("store");
        let tools = self.home.path().join(node).join("tools");
        fs::create_dir(&tools).unwrap();
        for (name, body) in [
            ("attrd_updater", ATTRD_UPDATER),
            ("cibadmin", CIBADMIN),
            ("crm_node", CRM_NODE),
            ("crm_mon", CRM_MON),
            ("crm_attribute", CRM_ATTRIBUTE),
        ] {
            let text = format!("{PREAMBLE}{body}").replace("@STORE@", store.to_str().unwrap());
            let text = text.replace("@NODE@", node).replace("@RESOURCE@", &self.resource);
            fs::write(tools.join(name), text).unwrap();
            fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        tools
    }

    /// Where every standby looks for the primary: a link to the socket directory of one node.
    pub(crate) fn address(&self) -> PathBuf {
        self.home.path().join("address")
    }

    /// A primary's address is gone before its role is.
    pub(crate) fn take_address_away(&self) {
        let _ = fs::remove_file(self.address());
    }

    pub(crate) fn move_address_to(&self, node: &Node) {
        self.take_address_away();
        std::os::unix::fs::symlink(&node.sockets, self.address()).unwrap();
    }
}

fn template() -> Arc<TempDir> {
    let mut shared = TEMPLATE.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(template) = shared.upgrade() {
        return template;
    }
    let template = Arc::new(public_directory());
    init_template(&template.path().join("data"));
    *shared = Arc::downgrade(&template);
    template
}

/// A temporary directory that the server's owner may enter.
pub(crate) fn public_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}
