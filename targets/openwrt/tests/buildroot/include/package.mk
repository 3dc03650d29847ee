$(foreach name,PKG_NAME PKG_VERSION PKG_RELEASE PKG_LICENSE PKG_BUILD_DEPENDS,$(if $($(name)),,$(error $(name) must be set before package.mk)))

PKG_BUILD_DIR?=$(BUILD_DIR)/$(PKG_NAME)-$(BUILD_VARIANT)
PKG_INSTALL_DIR:=$(PKG_BUILD_DIR)/ipkg-install

FIELDS:=TITLE SECTION CATEGORY DEPENDS USERID VARIANT PROVIDES CONFLICTS

$(BUILD_DIR)/.built-$(BUILD_VARIANT):
	mkdir -p $(BUILD_DIR)
	$(Build/Prepare)
	$(Build/Compile)
	touch $@

# $(1): the package's name. Files of conffiles that are not in the package end up in keep.d, as OpenWrt does it.
define BuildPackage
$(foreach field,$(FIELDS),$(eval $(field):=))
$(eval $(Package/$(1)))
$(foreach field,$(FIELDS),$(eval $(1).$(field):=$($(field))))
dump: dump-$(1)
dump-$(1):
	@echo "Package: $(1)"
	@echo "Version: $(PKG_VERSION)-r$(PKG_RELEASE)"
	@echo "License: $(PKG_LICENSE)"
	@$(foreach field,$(FIELDS),echo "$(field): $($(1).$(field))";)
	@echo "Conffiles: $(strip $(Package/$(1)/conffiles))"
	@echo "Description: $(strip $(Package/$(1)/description))"
ifeq ($($(1).VARIANT),$(BUILD_VARIANT))
stage: stage-$(1)
stage-$(1): $(BUILD_DIR)/.built-$(BUILD_VARIANT)
	mkdir -p $(STAGE_DIR)
	$$(call Package/$(1)/install,$(STAGE_DIR))
	for file in $(strip $(Package/$(1)/conffiles)); do \
		if [ ! -f $(STAGE_DIR)/$$$$file ]; then \
			install -d -m 0755 $(STAGE_DIR)/lib/upgrade/keep.d; \
			echo $$$$file >>$(STAGE_DIR)/lib/upgrade/keep.d/$(1); \
		fi; \
	done
endif
endef
