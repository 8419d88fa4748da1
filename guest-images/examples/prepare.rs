//! Makes every image, for a look at what the recipes give and how long they take.
use muster_guest_images::{Busybox, Cache, Initramfs, Kernel, RootDisk, initramfs::GUEST_MODULES};
use std::path::PathBuf;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let init = PathBuf::from(std::env::args_os().nth(1).ok_or("which muster-init?")?);
    let cache = Cache::open_default()?;
    let kernel = Kernel::debian_cloud(&cache)?;
    let mut i = Initramfs::new(&Busybox::debian(&cache)?, &init)?;
    i.add_modules(&kernel, &GUEST_MODULES)?;
    println!("{}", i.build(&cache, "demo")?.display());
    println!(
        "{}",
        RootDisk::debian(&cache, &kernel, &init)?.image.display()
    );
    Ok(())
}
