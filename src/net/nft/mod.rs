//! Our tables in the kernel: look, install, mend, withdraw, remove.
//!
//! * here: the conversation.
//! * `compare`: whether what the kernel lists is what has to be.
//! * `batch`: how a table is written.
//! * `named`: single chains, whatever others have.
//! * `foreign`: rules of others.
//!
//! Nothing is remembered here: what the kernel lists is compared with the [`Layout`], so that the tables that another
//! process made are judged and mended like one's own.
//!
//! Invariants:
//! * Every change is one batch: no packet ever meets half of it.
//! * A batch that replaces a whole table is built on what was listed, and the kernel refuses it when anything has
//!   changed since (its generation); it is built anew then, a few times.
//! * Tables other than ours are named in no batch but the one that deletes what node-cache has left.

mod batch;
mod compare;
mod foreign;
mod named;

use std::net::IpAddr;
use std::time::Duration;

use nix::libc;
use nlink::ErrorDetail;
use nlink::netlink::nftables::{ChainInfo, SetElement, SetInfo, Table, Transaction};
use nlink::netlink::{Connection, Nftables};
use thiserror::Error;
use tokio::time::timeout;

use self::compare::{are_rules, is_chain, is_set};
use self::named::Named;
use super::Ip;
use super::layout::{ChainName, LIFE, Layout, SetName, TABLE, Terms, elements};
use super::piece::Piece;

/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a look may take in all while addresses are live: well below an element's time, so that a beat comes in time
/// also after a look that came to nothing.
const LOOK_PATIENCE: Duration = Duration::from_millis(400);

/// How often a batch is built anew, or a list taken anew, because others changed something meanwhile.
const TRIES: usize = 5;

/// Between two of them.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The first question: a kernel without nftables finds it invalid.
const ASKING: &str = "asking for the generation of the ruleset";

/// The batch in which a kernel meets everything that it may be too old for.
const INSTALLING: &str = "making tables";

/// The batch that shows this before anything depends on it.
const TRYING: &str = "trying to make tables";

/// What is wrong with nftables.
#[derive(Debug, Error)]
pub enum NftError {
    /// This kernel does not have it.
    #[error("the kernel has no nftables")]
    Absent,
    /// This process may not use it.
    #[error("nftables may not be used: CAP_NET_ADMIN is needed")]
    Forbidden,
    /// The kernel is too old for something.
    #[error("{0}: this kernel cannot do it")]
    Unsupported(&'static str),
    /// The kernel lacks something that our tables need.
    #[error(
        "this kernel cannot have the tables of interception: {0}; they need its parts nft_chain_nat, nft_nat, nft_masq, \
         nft_ct and nft_numgen (--rules iptables and --rules off do without)"
    )]
    Lacking(String),
    /// A look was given up.
    #[error("the kernel took longer than {LOOK_PATIENCE:?} to list our tables")]
    Slow,
    /// Anything else.
    #[error("{0}: {1}")]
    Failed(&'static str, #[source] nlink::Error),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// None of our tables.
    Nothing,
    /// Everything as it has to be.
    Whole,
    /// These pieces are not, or are missing: at least one.
    Differs(Vec<Piece>),
}

/// The connection to nftables, of the network namespace of the thread that made it.
pub struct Nft {
    /// Requests and their answers.
    connection: Connection<Nftables>,
    /// Those for single chains.
    named: Named,
}

impl Nft {
    /// Connects, and asks whether anybody is there.
    ///
    /// # Errors
    /// A kernel without nftables, missing capabilities, anything else.
    pub async fn connect() -> Result<Self, NftError> {
        let connection = Connection::<Nftables>::new().map_err(|e| explain("opening a socket", e))?;
        let connection = connection.timeout(PATIENCE);
        connection.generation().await.map_err(|e| explain(ASKING, e))?;
        Ok(Self { connection, named: Named::connect()? })
    }

    /// Compares what is there with what has to be.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn look(&self, layout: &Layout) -> Result<Found, NftError> {
        let mut tries = 1;
        loop {
            let generation = self.generation().await?;
            let found = self.look_once(layout).await?;
            // Several lists are no picture of one moment: what differs may only be what somebody changed in between.
            if !matches!(found, Found::Differs(_)) || self.generation().await? == generation || tries == TRIES
            {
                return Ok(found);
            }
            tries += 1;
        }
    }

    /// The same while addresses are live, whose beats do not wait for long.
    ///
    /// # Errors
    /// A list that cannot be had, or not in time.
    pub async fn look_in_time(&self, layout: &Layout) -> Result<Found, NftError> {
        timeout(LOOK_PATIENCE, self.look(layout)).await.unwrap_or(Err(NftError::Slow))
    }

    /// The same at once, whatever happens meanwhile.
    async fn look_once(&self, layout: &Layout) -> Result<Found, NftError> {
        let (mut differs, mut any) = (Vec::new(), false);
        for ip in Ip::ALL {
            let found = self.table(ip).await?;
            any |= found.is_some();
            match (found, layout.has(ip)) {
                (None, false) => {}
                // Somebody may have told the kernel to leave it out.
                (Some(table), true) if table.flags == 0 => {
                    self.compare(layout, ip, table.use_count, &mut differs).await?;
                }
                // It is missing, or of another configuration.
                (None | Some(_), _) => differs.push(Piece::Table(ip)),
            }
        }
        Ok(match (differs.is_empty(), any) {
            (true, _) => Found::Whole,
            (false, true) => Found::Differs(differs),
            (false, false) => Found::Nothing,
        })
    }

    /// Makes the tables anew, whatever is there, with these addresses live. Connections that are remembered stay so.
    ///
    /// # Errors
    /// What the kernel refuses; everything is as before then.
    pub async fn install(&self, layout: &Layout, live: &[IpAddr]) -> Result<(), NftError> {
        self.replace(layout, &Ip::ALL, live).await
    }

    /// Whether the kernel can have such tables: they are made and deleted by one batch, of which no packet meets anything,
    /// under a name of their own: another process of the node may live by those that are there.
    ///
    /// # Errors
    /// What the kernel refuses; [`NftError::Unsupported`] where it may have them without the rule of
    /// [`Layout::forget_nothing`].
    pub async fn try_out(&self, layout: &Layout) -> Result<(), NftError> {
        let layout = &layout.clone().to_be_tried();
        let tried = self.batch(TRYING, |mut batch, ip, _| async move {
            let tries = layout.has(ip);
            if tries {
                batch = batch::with_table(batch, layout, ip, layout.addresses(), &[]);
                batch = batch.del_table(layout.table(), Terms::of(ip).family);
            }
            Ok((batch, tries))
        });
        match tried.await {
            Err(NftError::Failed(TRYING, error)) => match first_refused(&error) {
                Some(_) if error.errno() == Some(libc::EOPNOTSUPP) && layout.forgets() => {
                    Err(NftError::Unsupported(TRYING))
                }
                Some(refused) => Err(NftError::Lacking(refused)),
                None => Err(NftError::Failed(TRYING, error)),
            },
            tried => tried,
        }
    }

    /// Makes these pieces as they have to be. Sets keep what is in them as far as possible; where a whole table has to
    /// be made anew, these addresses are live in it.
    ///
    /// # Errors
    /// What the kernel refuses; everything is as before then.
    pub async fn mend(&self, layout: &Layout, pieces: &[Piece], live: &[IpAddr]) -> Result<(), NftError> {
        let whole = |ip: &Ip| {
            let of = |piece: &&Piece| piece.ip() == Some(*ip);
            pieces.iter().filter(of).any(|piece| !matches!(piece, Piece::Rules(..) | Piece::Elements(..)))
        };
        let whole: Vec<_> = Ip::ALL.into_iter().filter(whole).collect();
        let mut batch = self.connection.transaction();
        let mut any = false;
        for piece in pieces {
            if piece.ip().is_some_and(|ip| whole.contains(&ip)) {
                continue;
            }
            match piece {
                Piece::Rules(ip, chain) => {
                    batch = batch.flush_chain(TABLE, chain.as_str(), Terms::of(*ip).family);
                    batch = batch::with_rules(batch, layout, *ip, *chain);
                }
                Piece::Elements(ip, set) => {
                    let there = self.keys(*ip, *set).await?;
                    batch = batch::with_elements(batch, layout, *ip, *set, there);
                }
                _ => continue,
            }
            any = true;
        }
        if any {
            let done = batch.commit(&self.connection).await;
            done.map_err(|e| explain("writing rules and what is in sets", e))?;
        }
        if whole.is_empty() { Ok(()) } else { self.replace(layout, &whole, live).await }
    }

    /// Takes addresses out of `live`: their queries go to the cluster's DNS from now on, connections of theirs stay
    /// here as long as they are held.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub async fn withdraw(&self, layout: &Layout, addresses: &[IpAddr]) -> Result<(), NftError> {
        let mut batch = self.connection.transaction();
        let mut any = false;
        for ip in Ip::ALL {
            let gone = elements(addresses, ip);
            if gone.is_empty() || !self.is_there(ip).await? {
                continue;
            }
            any = true;
            // One that has expired cannot be taken out, one that was just put in can.
            let live = layout.set(ip, SetName::Live);
            let added: Vec<_> = gone.iter().map(|element| element.clone().with_timeout(LIFE)).collect();
            batch = batch.add_set_elements(&live, &added).del_set_elements(&live, &gone);
        }
        if !any {
            return Ok(());
        }
        batch.commit(&self.connection).await.map_err(|e| explain("withdrawing addresses", e))
    }

    /// Takes our tables away, if they are there.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub async fn remove(&self) -> Result<(), NftError> {
        self.batch("removing tables", |mut batch, ip, there| async move {
            if there {
                batch = batch.del_table(TABLE, Terms::of(ip).family);
            }
            Ok((batch, there))
        })
        .await
    }

    /// The tables of everybody.
    pub(super) async fn all_tables(&self) -> Result<Vec<Table>, NftError> {
        again("listing tables", || self.connection.list_tables()).await
    }

    /// The chains of everybody.
    pub(super) async fn all_chains(&self) -> Result<Vec<ChainInfo>, NftError> {
        again("listing chains", || self.connection.list_chains()).await
    }

    /// The chain of this name in somebody's table, if it is there.
    pub(super) async fn chain(
        &self,
        ip: Ip,
        table: &str,
        chain: &str,
    ) -> Result<Option<ChainInfo>, NftError> {
        self.named.chain(ip, table, chain, PATIENCE).await
    }

    /// Which addresses are in `live` now.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn live(&self, layout: &Layout) -> Result<Vec<IpAddr>, NftError> {
        let mut live = Vec::new();
        for ip in Ip::ALL {
            if !self.is_there(ip).await? {
                continue;
            }
            let there = self.keys(ip, SetName::Live).await?;
            let of = |address: &&IpAddr| {
                elements(&[**address], ip).iter().any(|e| there.contains(&e.key().to_vec()))
            };
            live.extend(layout.addresses().iter().filter(of).copied());
        }
        Ok(live)
    }

    /// Makes the tables of these families anew.
    async fn replace(&self, layout: &Layout, which: &[Ip], live: &[IpAddr]) -> Result<(), NftError> {
        self.batch(INSTALLING, |mut batch, ip, there| async move {
            let (wanted, family) = (layout.has(ip), Terms::of(ip).family);
            if !which.contains(&ip) || !(there || wanted) {
                return Ok((batch, false));
            }
            // Those of before lose their connections otherwise.
            let flows = if there && wanted { self.flows(ip).await? } else { Vec::new() };
            if there {
                batch = batch.del_table(TABLE, family);
            }
            if wanted {
                batch = batch::with_table(batch, layout, ip, live, &flows);
            }
            Ok((batch, true))
        })
        .await
    }

    /// Builds a batch out of what is there, and commits it unless anything has changed since: then anew.
    async fn batch<B, F>(&self, doing: &'static str, build: B) -> Result<(), NftError>
    where
        B: Fn(Transaction, Ip, bool) -> F,
        F: Future<Output = Result<(Transaction, bool), NftError>>,
    {
        let mut tries = 1;
        loop {
            let generation = self.generation().await?;
            let mut batch = self.connection.transaction().expect_generation(generation);
            let mut any = false;
            for ip in Ip::ALL {
                let there = self.is_there(ip).await?;
                let (longer, changed) = build(batch, ip, there).await?;
                batch = longer;
                any |= changed;
            }
            if !any {
                return Ok(());
            }
            match batch.commit(&self.connection).await {
                Err(error) if error.is_restart() && tries < TRIES => tries += 1,
                done => return done.map_err(|e| explain(doing, e)),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Adds to `differs` what is not as it has to be in a table that is there, and has so many chains, sets and the like.
    async fn compare(
        &self,
        layout: &Layout,
        ip: Ip,
        has: u32,
        differs: &mut Vec<Piece>,
    ) -> Result<(), NftError> {
        let family = Terms::of(ip).family;
        let sets = again("listing sets", || self.connection.list_sets_in(TABLE, family)).await?;
        let mut chains = Vec::new();
        for name in ChainName::ALL {
            chains.extend(self.chain(ip, TABLE, name.as_str()).await?);
        }
        if usize::try_from(has) != Ok(sets.len() + chains.len()) {
            // What more there is only a list tells, be it as long as others make it.
            chains = again("listing chains", || self.connection.list_chains_in(TABLE, family)).await?;
        }
        let rules = again("listing rules", || self.connection.list_rules(TABLE, family)).await?;
        let strange_set = |set: &&SetInfo| !SetName::ALL.iter().any(|ours| ours.as_str() == set.name);
        let strange_chain = |chain: &&ChainInfo| !ChainName::ALL.iter().any(|c| c.as_str() == chain.name);
        if sets.iter().any(|set| strange_set(&set)) || chains.iter().any(|chain| strange_chain(&chain)) {
            differs.push(Piece::Strange(ip));
        }
        for name in SetName::ALL {
            let found = sets.iter().find(|set| set.name == name.as_str());
            if !found.is_some_and(|found| is_set(found, layout, ip, name)) {
                differs.push(Piece::Set(ip, name));
            } else if !self.holds(layout, ip, name).await? {
                // Apart from a set that has to be made anew: packets lose nothing of what they have put into others.
                differs.push(Piece::Elements(ip, name));
            }
        }
        for name in ChainName::ALL {
            let found = chains.iter().find(|chain| chain.name == name.as_str());
            if !found.is_some_and(|found| is_chain(found, name)) {
                differs.push(Piece::Chain(ip, name));
                continue;
            }
            let listed: Vec<_> = rules.iter().filter(|rule| rule.chain == name.as_str()).collect();
            if !are_rules(&listed, layout, ip, name) {
                differs.push(Piece::Rules(ip, name));
            }
        }
        Ok(())
    }

    /// Whether a set has what is always in it, and nothing more.
    async fn holds(&self, layout: &Layout, ip: Ip, set: SetName) -> Result<bool, NftError> {
        let Some(wanted) = layout.elements(ip, set) else { return Ok(true) };
        let mut wanted: Vec<_> = wanted.iter().map(|element| element.key().to_vec()).collect();
        let mut there = self.keys(ip, set).await?;
        wanted.sort_unstable();
        there.sort_unstable();
        Ok(wanted == there)
    }

    /// What is in a set.
    async fn keys(&self, ip: Ip, set: SetName) -> Result<Vec<Vec<u8>>, NftError> {
        let family = Terms::of(ip).family;
        let list = || self.connection.list_set_elements(TABLE, set.as_str(), family);
        let listed = again("listing a set", list).await;
        match listed {
            Err(NftError::Failed(_, error)) if error.is_not_found() => Ok(Vec::new()),
            listed => Ok(listed?.iter().map(|element| element.key().to_vec()).collect()),
        }
    }

    /// The connections that a table remembers, as far as its set is like ours. Each begins its time anew.
    async fn flows(&self, ip: Ip) -> Result<Vec<SetElement>, NftError> {
        let len = Terms::of(ip).flow_key().len();
        let keys = self.keys(ip, SetName::Flows).await?.into_iter();
        Ok(keys.filter(|key| u32::try_from(key.len()) == Ok(len)).map(SetElement::new).collect())
    }

    /// How often anybody has changed anything.
    async fn generation(&self) -> Result<u32, NftError> {
        self.connection.generation().await.map_err(|e| explain("asking for the generation", e))
    }

    /// Whether we have a table of this family.
    async fn is_there(&self, ip: Ip) -> Result<bool, NftError> {
        Ok(self.table(ip).await?.is_some())
    }

    /// Our table of this family.
    async fn table(&self, ip: Ip) -> Result<Option<Table>, NftError> {
        let family = Terms::of(ip).family;
        let tables = again("listing tables", || self.connection.list_tables_in(family)).await?;
        Ok(tables.into_iter().find(|table| table.name == TABLE))
    }
}

/// Takes a list, and takes it anew when something changed while it was taken.
async fn again<T, F>(doing: &'static str, list: impl Fn() -> F) -> Result<T, NftError>
where
    F: Future<Output = Result<T, nlink::Error>>,
{
    let mut tries = 1;
    loop {
        match list().await {
            Err(error) if error.is_dump_interrupted() && tries < TRIES => tries += 1,
            done => return done.map_err(|e| explain(doing, e)),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// The first operation of a batch that the kernel refused, in words: later ones only fail because of it.
fn first_refused(error: &nlink::Error) -> Option<String> {
    match error.detail() {
        ErrorDetail::NftBatch { failures, .. } => failures.first().map(ToString::to_string),
        _ => None,
    }
}

/// What an error of the kernel means.
fn explain(doing: &'static str, error: nlink::Error) -> NftError {
    match error.errno() {
        Some(libc::EPERM | libc::EACCES) => NftError::Forbidden,
        Some(libc::EOPNOTSUPP) if doing == INSTALLING => NftError::Unsupported(doing),
        Some(libc::EOPNOTSUPP) if doing == TRYING => NftError::Failed(doing, error),
        // No netlink for netfilter, or nobody behind it: both say that nothing of this kind can be asked.
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => NftError::Absent,
        Some(libc::EINVAL) if doing == ASKING => NftError::Absent,
        _ => NftError::Failed(doing, error),
    }
}
