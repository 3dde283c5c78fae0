//! The agent's description.

/// What the action `meta-data` prints. It needs no privilege and no other program.
pub const META_DATA: &str = include_str!("metadata.xml");

#[cfg(test)]
mod tests {
    use super::META_DATA;
    use crate::ocf::Parameters;

    /// DTD processing is off in the parser, and the schemas are checked elsewhere.
    fn parse() -> roxmltree::Document<'static> {
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        roxmltree::Document::parse_with_options(META_DATA, options).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_code() {
        let document = parse();
        let default = |wanted: &str| {
            let mut parameters = document.descendants().filter(|n| n.has_tag_name("parameter"));
            let parameter = parameters.find(|n| n.attribute("name") == Some(wanted)).unwrap();
            let content = parameter.children().find(|n| n.has_tag_name("content")).unwrap();
            content.attribute("default").unwrap_or_default().to_owned()
        };
        assert_eq!(default("system_user"), Parameters::SYSTEM_USER);
        assert_eq!(default("bindir"), Parameters::BINDIR);
        assert_eq!(default("pgdata"), Parameters::PGDATA);
        assert_eq!(default("pghost"), Parameters::PGHOST);
        assert_eq!(default("pgport"), Parameters::PGPORT);
        assert_eq!(default("maxlag"), Parameters::MAXLAG);
        assert_eq!(default("pgdatabase"), Parameters::PGDATABASE);
        assert_eq!(default("election_timeout"), Parameters::ELECTION_TIMEOUT);
        assert_eq!(default("slots"), Parameters::SLOTS);
        assert_eq!(default("follow"), Parameters::FOLLOW);
    }

    /// pcs copies every listed action but meta-data and validate-all into the configuration.
    #[test]
    fn nothing_but_operations_is_listed() {
        let document = parse();
        let mut actions: Vec<_> =
            document.descendants().filter(|n| n.has_tag_name("action")).filter_map(|n| n.attribute("name")).collect();
        actions.sort_unstable();
        actions.dedup();
        let expected = ["demote", "meta-data", "monitor", "notify", "promote", "start", "stop", "validate-all"];
        assert_eq!(actions, expected);
    }
}
