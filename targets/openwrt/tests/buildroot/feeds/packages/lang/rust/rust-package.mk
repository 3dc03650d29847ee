RUST_ARCH_DEPENDS:=@(aarch64||arm||i386||mipsel||riscv64||x86_64)
# The real one sets these too: a package must set its own after the include.
CARGO_PKG_PROFILE:=release
CARGO_PKG_VARS=CARGO_PROFILE_RELEASE_PANIC=unwind

# $(1): path to the package, $(2): more arguments. `cargo` is the check's stand-in, which notes how it was called.
define Build/Compile/Cargo
	$(CARGO_PKG_VARS) cargo install -v --profile $(CARGO_PKG_PROFILE) --root $(PKG_INSTALL_DIR) --path "$(PKG_BUILD_DIR)/$(strip $(1))" --locked $(2)
endef

define RustBinPackage
  $(if $(Package/$(1)/install),,$(error $(1) has no install section))
endef
