//! Which modules an initramfs carries: data, and the reason for each group.

use clap::ValueEnum;

/// Without these no image can be mounted. They may be built in.
pub const REQUIRED: &[&str] = &["squashfs", "overlay", "loop"];

/// Useful where the kernel has them as modules.
pub const WELCOME: &[&str] = &[
    // Packet sockets, for tools in the new root; bonds and VLANs, for networks
    // that need them before there is an address.
    "af_packet",
    "bonding",
    "8021q",
    // Watchdogs that a machine has; what no alias names is loaded by nobody.
    "i6300esb",
    "iTCO_wdt",
    "sp5100_tco",
    "hpwdt",
    // What a bus of a virtual machine needs before its NIC shows.
    "virtio_pci",
    "virtio_mmio",
    "hv_vmbus",
    "pci_hyperv",
    "xen_platform_pci",
];

/// Local disks, and what is on them: for a boot config that keeps the image or the
/// overlay there. They have an index of their own, as no other boot loads them.
pub const STORAGE: &[&str] = &[
    // Disks of virtual machines.
    "virtio_blk",
    "virtio_scsi",
    "vmw_pvscsi",
    "hv_storvsc",
    "xen_blkfront",
    "ata_piix",
    // Disks of servers and cartridges.
    "ahci",
    "nvme",
    "sd_mod",
    "megaraid_sas",
    "mpt3sas",
    "hpsa",
    "smartpqi",
    "aacraid",
    "sdhci_pci",
    "mmc_block",
    // Blocks that are checked when they are read, file systems, and RAM as a
    // compressed disk.
    "dm_verity",
    "ext4",
    "xfs",
    "zram",
];

/// NICs of hypervisors.
const VIRTUAL_NICS: &[&str] = &[
    "virtio_net",
    "e1000",
    "e1000e",
    "igb",
    "vmxnet3",
    "8139cp",
    "8139too",
    "pcnet32",
    "hv_netvsc",
    "xen_netfront",
    "ena",
    "gve",
];

/// NICs of servers, cartridges and small machines, with the PHY drivers that
/// some of them look for by name.
const HARDWARE_NICS: &[&str] = &[
    // Intel, with the virtual functions that a cloud hands out.
    "igc",
    "ixgbe",
    "ixgbevf",
    "i40e",
    "iavf",
    "ice",
    "igbvf",
    "idpf",
    // Mellanox/NVIDIA; the mlx4 Ethernet driver is a module of its own that no
    // PCI alias names.
    "mlx4_core",
    "mlx4_en",
    "mlx5_core",
    // Broadcom, QLogic, Emulex, Chelsio, Solarflare, Cisco, AMD, Aquantia.
    "bnxt_en",
    "bnx2x",
    "bnx2",
    "tg3",
    "qede",
    "qlcnic",
    "netxen_nic",
    "be2net",
    "cxgb4",
    "cxgb3",
    "sfc",
    "sfc_siena",
    "enic",
    "amd_xgbe",
    "atlantic",
    "ionic",
    // Realtek and others of small servers.
    "r8169",
    "alx",
    "atl1c",
    "sky2",
    "skge",
    "forcedeth",
    "jme",
    "via_velocity",
    "via_rhine",
    "realtek",
    "broadcom",
    "marvell",
    "marvell10g",
    "micrel",
    "smsc",
    "dp83867",
    "motorcomm",
    // ARM64 servers and cartridges.
    "xgene_enet",
    "xgene_enet_v2",
    "mdio_xgene",
    "thunder_bgx",
    "nicvf",
    "nicpf",
    "mdio_thunder",
    "hns_enet_drv",
    "hns3",
    "hclge",
    "qcom_emac",
    "mvneta",
    "mvpp2",
    "fsl_dpaa2_eth",
    "dwmac_generic",
    "macb",
    "bcmgenet",
];

/// Drivers in two parts, of which the hardware names only the first: it asks
/// for the second by way of modprobe, which an initramfs without one cannot do.
pub const COMPANIONS: &[(&str, &str)] = &[("mlx4_core", "mlx4_en")];

/// Names by which modules ask for an algorithm, and the module that has it
/// everywhere.
pub const ALGORITHMS: &[(&str, &str)] = &[
    ("crc32c", "crc32c_generic"),
    ("crct10dif", "crct10dif_generic"),
    ("crc32", "crc32_generic"),
];

/// Which NIC drivers to pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DriverSet {
    /// Those of hypervisors and of common servers.
    #[default]
    All,
    /// Those of hypervisors alone: a third of the size.
    Virtual,
}

impl DriverSet {
    /// Names of the NIC drivers, where the kernel has them.
    pub fn nics(self) -> impl Iterator<Item = &'static str> {
        let hardware = match self {
            Self::All => HARDWARE_NICS,
            Self::Virtual => &[],
        };
        VIRTUAL_NICS.iter().chain(hardware).copied()
    }
}
