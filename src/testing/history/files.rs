//! The files of a stream, as they lie on disk at one moment of a history.

use std::path::PathBuf;

use super::setup::Setup;
use super::world::World;
use crate::crypto::block_context;
use crate::env::memory::MemoryFileSystem;
use crate::format::checksum::HashKey;
use crate::format::meta;
use crate::format::names::{BlockFile, META, META_KEY, META_SUM};
use crate::stream::StreamDir;
use crate::testing::WorkloadError;
use crate::testing::random::{Random, derive};
use crate::testing::workload::{ACCOUNT, Access, AssetKeys, SERVER_KEY, sealed};

/// Whose key or nonce is drawn.
#[derive(Debug, Clone, Copy)]
enum Part {
    Stream,
    Block,
    Consumer,
}

/// Where the stream lies and how it is opened.
pub struct Place {
    pub stream: StreamDir,
    pub access: Access,
    seed: u64,
}

impl Place {
    pub fn new(setup: &Setup, seed: u64) -> Self {
        let cipher = setup.layout.cipher();
        let dir = format!("/jetstream/{ACCOUNT}/streams/{}", setup.stream);
        Self {
            stream: StreamDir {
                account: Some(ACCOUNT.into()),
                name: setup.stream.into(),
                dir: dir.into(),
            },
            access: Access {
                account: ACCOUNT.into(),
                key: cipher.map(|_| SERVER_KEY.into()),
                cipher,
                block_size: None,
                now_ns: 0,
            },
            seed,
        }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.stream.dir.join(relative)
    }

    fn keys(&self, context: &[u8], part: Part, number: u64) -> Option<AssetKeys> {
        let mut random = Random::derived(self.seed, &[part as u64, number]);
        AssetKeys::draw(&self.access, context, &mut random)
    }

    /// Writes everything. The same moment gives the same bytes.
    pub fn write(&self, world: &World) -> Result<MemoryFileSystem, WorkloadError> {
        let files = MemoryFileSystem::new();
        let setup = &world.server.setup;
        let keys = self.keys(&setup.key_context(), Part::Stream, 0);
        let label = HashKey::for_stream(setup.stream.as_bytes());
        self.asset(&files, "", setup.meta(), keys.as_ref(), &label)?;
        files.seed_dir(self.path("msgs"));
        files.seed_dir(self.path("obs"));
        for block in &world.server.blocks {
            self.block(&files, setup, block.number, block.file_content()?)?;
        }
        if let Some(index) = &world.server.index {
            let mut random = Random::new(derive(self.seed, &[index.len() as u64]));
            let mut bytes = sealed(keys.as_ref(), index.clone(), &mut random)?;
            let hash = label.hash64(&[&bytes]);
            bytes.extend_from_slice(&hash.to_le_bytes());
            files.seed_file(self.path("msgs/index.db"), bytes);
        }
        for (number, consumer) in world.consumers.iter().enumerate() {
            let context = setup.consumer_key_context(&consumer.setup);
            let keys = self.keys(&context, Part::Consumer, number as u64);
            let dir = format!("obs/{}/", consumer.setup.name);
            let (json, label) = (
                Setup::consumer_meta(&consumer.setup),
                setup.consumer_label(&consumer.setup),
            );
            self.asset(&files, &dir, json, keys.as_ref(), &label)?;
            let mut random = Random::new(derive(self.seed, &[7, number as u64]));
            let state = sealed(keys.as_ref(), consumer.written.clone(), &mut random)?;
            files.seed_file(self.path(&format!("{dir}o.dat")), state);
        }
        Ok(files.fork())
    }

    fn asset(
        &self,
        files: &MemoryFileSystem,
        dir: &str,
        json: Vec<u8>,
        keys: Option<&AssetKeys>,
        label: &HashKey,
    ) -> Result<(), WorkloadError> {
        let mut random = Random::new(derive(self.seed, &[3, dir.len() as u64]));
        let inf = sealed(keys, json, &mut random)?;
        let sum = meta::meta_sum_text(label.hash64(&[&inf]));
        files.seed_file(self.path(&format!("{dir}{META}")), inf);
        files.seed_file(self.path(&format!("{dir}{META_SUM}")), sum);
        if let Some(keys) = keys {
            files.seed_file(self.path(&format!("{dir}{META_KEY}")), keys.file.clone());
        }
        Ok(())
    }

    /// Writes a block's file from its content, under its key.
    pub fn block(
        &self,
        files: &MemoryFileSystem,
        setup: &Setup,
        number: u32,
        mut bytes: Vec<u8>,
    ) -> Result<(), WorkloadError> {
        let context = block_context(setup.stream.as_bytes(), number);
        if let Some(keys) = self.keys(&context, Part::Block, u64::from(number)) {
            keys.encrypt_block(&mut bytes)?;
            let name = BlockFile::Key.name(number);
            files.seed_file(self.path(&format!("msgs/{name}")), keys.file);
        }
        let name = BlockFile::Block.name(number);
        files.seed_file(self.path(&format!("msgs/{name}")), bytes);
        Ok(())
    }
}
