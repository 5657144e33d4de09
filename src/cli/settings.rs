//! The configuration a command uses: finding its file and loading it.

use std::env;
use std::path::{Path, PathBuf};

use super::failure::{Exit, Failure};
use crate::config::{Config, Mistake};

/// Where to look for the configuration file, in this order.
const DEFAULTS: [&str; 2] = ["./config.ini", "/etc/airlay/config.ini"];

#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// The configuration file [default: ./config.ini, then /etc/airlay/config.ini]
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

impl Settings {
    /// The whole configuration, and the path of its file.
    ///
    /// # Errors
    /// There is no file, or it has mistakes: exit code 2.
    pub(super) fn load(&self) -> Result<(Config, PathBuf), Failure> {
        let path = self.find().ok_or_else(|| {
            let [here, system] = DEFAULTS;
            let sentence =
                format!("Found neither {here} nor {system}; name a configuration file with --config.");
            Failure::new(Exit::Wrong, sentence)
        })?;
        let config =
            Config::load(&path, env::vars_os()).map_err(|mistakes| Failure::each(Exit::Wrong, &mistakes))?;
        Ok((config, path))
    }

    /// One section of the configuration; without a file, its defaults. `load` is the section's `load` function.
    ///
    /// # Errors
    /// The section has mistakes: exit code 2.
    pub(super) fn load_section<T>(
        &self,
        load: impl FnOnce(Option<&Path>, env::VarsOs) -> Result<T, Vec<Mistake>>,
    ) -> Result<T, Failure> {
        load(self.find().as_deref(), env::vars_os()).map_err(|mistakes| Failure::each(Exit::Wrong, &mistakes))
    }

    fn find(&self) -> Option<PathBuf> {
        let default = || DEFAULTS.iter().map(PathBuf::from).find(|path| path.exists());
        self.config.clone().or_else(default)
    }
}
