//! Rules of others, which are only looked at and deleted where they are known to be left over.

use nlink::netlink::nftables::RuleInfo;

use super::{Nft, NftError, again, explain};
use crate::net::Ip;
use crate::net::layout::Terms;

impl Nft {
    /// All rules of a table of this family; none where it is not there.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub(in crate::net) async fn rules_of(&self, ip: Ip, table: &str) -> Result<Vec<RuleInfo>, NftError> {
        let family = Terms::of(ip).family;
        let tables = again("listing tables", || self.connection.list_tables_in(family)).await?;
        if !tables.iter().any(|found| found.name == table) {
            return Ok(Vec::new());
        }
        again("listing rules of others", || self.connection.list_rules(table, family)).await
    }

    /// Deletes these rules, all at once.
    ///
    /// # Errors
    /// What the kernel refuses; all are there then.
    pub(in crate::net) async fn delete_rules(&self, rules: &[RuleInfo]) -> Result<(), NftError> {
        let mut batch = self.connection.transaction();
        for rule in rules {
            batch = batch.del_rule(&rule.table, &rule.chain, rule.family, rule.handle);
        }
        batch.commit(&self.connection).await.map_err(|e| explain("deleting rules that were left", e))
    }
}
