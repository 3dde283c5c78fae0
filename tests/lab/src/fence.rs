//! `fence_lab`, the fence agent inside the nodes: Pacemaker's key=value lines in, an order to the power switch out.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use crate::{paths, switch};

const METADATA: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Fence agent for the power switch of the pgbaton lab">
<longdesc>Takes and gives power to the nodes of the lab, through the socket of its power switch.</longdesc>
<vendor-url>https://clusterlabs.org</vendor-url>
<parameters>
  <parameter name="action" unique="0" required="1">
    <getopt mixed="-o, --action=[action]"/><content type="string" default="reboot"/>
    <shortdesc lang="en">Fencing action</shortdesc>
  </parameter>
  <parameter name="plug" unique="0" required="0" obsoletes="port">
    <getopt mixed="-n, --plug=[node]"/><content type="string"/>
    <shortdesc lang="en">Name of the node</shortdesc>
  </parameter>
  <parameter name="port" unique="0" required="0" deprecated="1">
    <getopt mixed="-n, --plug=[node]"/><content type="string"/>
    <shortdesc lang="en">Name of the node</shortdesc>
  </parameter>
</parameters>
<actions>
  <action name="on" automatic="0"/>
  <action name="off"/>
  <action name="reboot"/>
  <action name="status"/>
  <action name="list"/>
  <action name="list-status"/>
  <action name="monitor"/>
  <action name="metadata"/>
  <action name="validate-all"/>
</actions>
</resource-agent>
"#;

/// Fence agents answer a status question about a node without power with 2.
const OFF: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let options = options();
    let action = options.get("action").or(options.get("option")).map_or("reboot", String::as_str);
    let plug = options.get("plug").or(options.get("port")).or(options.get("nodename"));
    match act(action, plug.map(String::as_str)) {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            eprintln!("fence_lab: {action}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: &str, plug: Option<&str>) -> Result<u8, String> {
    let plug = || plug.ok_or("no node given: set plug");
    match action {
        "metadata" => print!("{METADATA}"),
        "validate-all" => {}
        "monitor" => drop(order("list")?),
        "list" => order("list")?.split(' ').for_each(|node| println!("{node},{node}")),
        "list-status" => {
            for node in order("list")?.split(' ') {
                println!("{node},{node},{}", order(&format!("status {node}"))?);
            }
        }
        "status" => {
            let status = order(&format!("status {}", plug()?))?;
            println!("Status: {}", status.to_uppercase());
            return Ok(if status == "on" { 0 } else { OFF });
        }
        "on" | "off" | "reboot" => drop(order(&format!("fence-{action} {}", plug()?))?),
        _ => return Err("unknown action".to_owned()),
    }
    Ok(0)
}

fn order(line: &str) -> Result<String, String> {
    switch::order_at(Path::new(paths::SWITCH_IN_NODE), line).map_err(|error| error.to_string())
}

/// Options from the command line (`-o ACTION`, `-n NODE`) or, without any, from standard input as Pacemaker gives them.
fn options() -> HashMap<String, String> {
    let mut options = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let (key, value) = match word.trim_start_matches('-').split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.trim_start_matches('-').to_owned(), words.next()),
        };
        let key = match key.as_str() {
            "o" => "action".to_owned(),
            "n" => "plug".to_owned(),
            _ => key,
        };
        options.insert(key, value.unwrap_or_default());
    }
    if options.is_empty() {
        let mut text = String::new();
        // Unreadable input leaves the options empty, and the action then says what it lacks.
        let _ = std::io::stdin().read_to_string(&mut text);
        let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        options.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    options
}
