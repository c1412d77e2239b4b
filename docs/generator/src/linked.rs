//! The stock sets. Each adds itself to the sdk's list; the names here have them linked.

use guestd_account as _;
use guestd_core as _;
use guestd_exec as _;
use guestd_file as _;
use guestd_fsfreeze as _;
use guestd_hardware as _;
use guestd_network as _;
use guestd_power as _;
use guestd_script as _;
use guestd_storage as _;
use guestd_system as _;
