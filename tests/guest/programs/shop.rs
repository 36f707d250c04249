// Names of Rust.
//
// BUILD rustc -O -g -C force-frame-pointers=yes --edition 2021 -o shop-rust "$SRC"

mod shop {
    pub trait Pay {
        fn pay(&self) -> i64;
    }

    impl Pay for Vec<i64> {
        #[inline(never)]
        fn pay(&self) -> i64 {
            let result: i64;
            // close(-3000), not through the C library, which has no base pointers.
            unsafe {
                std::arch::asm!("syscall", inlateout("rax") 3i64 => result, in("rdi") -3000i64, out("rcx") _, out("r11") _);
            }
            self.iter().sum::<i64>() + result
        }
    }
}

fn main() {
    use shop::Pay;
    println!("{}", vec![1i64, 2, 3].pay());
}
