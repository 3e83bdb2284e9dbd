BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE backends (
	name VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_backends PRIMARY KEY (name)
);
INSERT INTO "backends" VALUES('backends/echo',1,1,'{"name":"backends/echo","declaration":{"versions":[{"version":"1.0","command":["/opt/echo","--model","{{model_path}}","--port","{{port}}"],"image":"","entrypoint":[],"env":{"A":"1"},"frameworks":["cpu"],"operating_systems":[],"architectures":[],"container_port":null,"health_path":"","start_timeout_seconds":null,"stop_grace_seconds":null,"packages":[]}],"description":"","aliases":["parrot"],"formats":[],"categories":[],"options":[],"health_path":"/health","metrics_path":"","api_key_env":"","start_timeout_seconds":600.0,"stop_grace_seconds":30.0,"claim_memory_bytes":1073741824,"claim_device_memory_bytes":null},"create_time":"2026-11-21T12:00:00Z","update_time":"2026-11-21T12:00:00Z","revision":1}');
CREATE TABLE changes (
	revision BIGINT NOT NULL, 
	kind VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	deleted BOOLEAN NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	CONSTRAINT pk_changes PRIMARY KEY (revision, kind, name)
);
INSERT INTO "changes" VALUES(1,'profiles','digest',0,1);
INSERT INTO "changes" VALUES(1,'backends','backends/echo',0,1);
INSERT INTO "changes" VALUES(1,'nodes','nodes/a',0,1);
INSERT INTO "changes" VALUES(1,'deployments','deployments/d',0,1);
INSERT INTO "changes" VALUES(1,'instances','instances/d-1',0,1);
INSERT INTO "changes" VALUES(1,'instances','instances/d-2',0,1);
INSERT INTO "changes" VALUES(1,'events','events/1-0000',0,1);
INSERT INTO "changes" VALUES(2,'nodes','nodes/b',0,1);
INSERT INTO "changes" VALUES(2,'instances','instances/d-2',1,1);
CREATE TABLE claims (
	instance VARCHAR NOT NULL, 
	node VARCHAR NOT NULL, 
	device VARCHAR NOT NULL, 
	memory_bytes BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	CONSTRAINT pk_claims PRIMARY KEY (instance, node, device), 
	CONSTRAINT ck_claims_positive CHECK (memory_bytes > 0), 
	CONSTRAINT fk_claims_instance FOREIGN KEY(instance) REFERENCES instances (name) ON DELETE CASCADE
);
INSERT INTO "claims" VALUES('instances/d-1','nodes/a','',1099511627776,1,1);
INSERT INTO "claims" VALUES('instances/d-1','nodes/a','gpu-0',20,1,1);
CREATE TABLE controllers (
	name VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_controllers PRIMARY KEY (name)
);
INSERT INTO "controllers" VALUES('controller:7400',0,1,'{"name":"controller:7400","public_endpoints":["controller:7400"],"agent_endpoints":["controller:7401"],"start_time":"2026-01-02T03:04:05.678901Z","version":"","lead_time":null}');
CREATE TABLE deployments (
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_deployments PRIMARY KEY (name), 
	CONSTRAINT uq_deployments_uid UNIQUE (uid)
);
INSERT INTO "deployments" VALUES('deployments/d','uid-d',1,1,'{"name":"deployments/d","uid":"uid-d","spec":{"model":{"kind":"local_path","path":"/models/m.gguf","repository":"","file":"","revision":"","commit":""},"replicas":1,"categories":[],"backend":"","backend_version":"","parameters":[],"env":{},"image":"","command":[],"strategy":"spread","match_labels":{},"devices":[],"devices_per_instance":0,"cpu_offloading":null,"distributed":null,"exposure":"node","restart_on_error":true,"reschedule_after_seconds":300.0,"claim_memory_bytes":null,"claim_device_memory_bytes":null,"allow_overcommit":false,"extended_kv_cache":null,"speculative":null,"lora_adapters":[],"trust_remote_code":false,"served_model_name":"","packages":[],"rollout_strategy":"surge","drain_seconds":null},"create_time":"2026-01-02T03:04:05.678901Z","generation":1,"api_key":"","facts":null,"estimate":null,"delete_time":null,"findings":[],"template_generation":1,"template_time":null,"former":[],"rollout":null,"hub_models":[],"revision":1}');
CREATE TABLE events (
	name VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (name)
);
INSERT INTO "events" VALUES('events/1-0000',1,1,'{"name":"events/1-0000","time":"2026-01-02T03:04:05.678901Z","first_time":"2026-01-02T03:04:05.678901Z","severity":"warning","reason":"X","subject":"nodes/a","message":"it''s told","count":1,"revision":1}');
CREATE TABLE instances (
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	deployment VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_instances PRIMARY KEY (name), 
	CONSTRAINT uq_instances_uid UNIQUE (uid)
);
INSERT INTO "instances" VALUES('instances/d-1','uid-d-1','deployments/d',1,1,'{"name":"instances/d-1","uid":"uid-d-1","deployment":"deployments/d","deployment_generation":1,"create_time":"2026-01-02T03:04:05.678901Z","state_time":"2026-01-02T03:04:05.678901Z","generation":1,"state":"pending","state_message":"","placement":{"members":[{"node":"nodes/a","claim":{"memory_bytes":1099511627776,"devices":[{"device_id":"gpu-0","memory_bytes":20}]},"rank":0}],"framework":"cpu","backend":"llama_cpp","backend_version":"1","offloaded_layers":null,"score":0.0,"overcommitted":false,"context_length":null,"parallel":null,"memory_fraction":null,"tensor_split":[],"style":"","parallelism":{}},"refusals":[],"launch":null,"endpoint":"","pid":0,"pid_start_ticks":0,"start_time":null,"restart_count":0,"first_failure":null,"last_failure":null,"next_try_time":null,"adopted":false,"drain_time":null,"stop_time":null,"stop_reason":"","assignment":null,"template_generation":0,"gang":null,"drain":null,"attempt":0,"attempts":[],"revision":1}');
CREATE TABLE meta (
	id INTEGER NOT NULL, 
	cluster_id VARCHAR NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	changes_since BIGINT NOT NULL, backup_time_microseconds BIGINT, restore_time_microseconds BIGINT, 
	CONSTRAINT pk_meta PRIMARY KEY (id), 
	CONSTRAINT ck_meta_one_row CHECK (id = 1)
);
INSERT INTO "meta" VALUES(1,'cluster-1',1,2,0,NULL,NULL);
CREATE TABLE nodes (
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_nodes PRIMARY KEY (name), 
	CONSTRAINT uq_nodes_uid UNIQUE (uid)
);
INSERT INTO "nodes" VALUES('nodes/a','uid-a',1,1,'{"name":"nodes/a","uid":"uid-a","enrollment_id":"enrollment-a","create_time":"2026-01-02T03:04:05.678901Z","state":"enrolled","state_message":"","state_time":null,"address":"10.0.0.1","agent_labels":{},"operator_labels":{"row":"7 ü"},"host":{"hostname":"","os":"","architecture":"","kernel":"","cpu_count":0,"memory_bytes":null,"boot_id":"","machine_id":""},"reserved":{"memory_bytes":0,"device_memory_bytes":0},"agent_version":"","cordoned":false,"cordoned_devices":[],"cordons":{},"devices":[],"plugins":[],"profiles":{"b":"digest"},"executors":[],"conditions":[],"session_epoch":0,"refused":"","certificate_serials":[],"trusted_authorities":[],"releases":[],"ban":null,"revision":1}');
INSERT INTO "nodes" VALUES('nodes/b','uid-b',2,1,'{"name":"nodes/b","uid":"uid-b","enrollment_id":"enrollment-b","create_time":"2026-01-02T03:04:05.678901Z","state":"enrolled","state_message":"","state_time":null,"address":"","agent_labels":{},"operator_labels":{},"host":{"hostname":"","os":"","architecture":"","kernel":"","cpu_count":0,"memory_bytes":null,"boot_id":"","machine_id":""},"reserved":{"memory_bytes":0,"device_memory_bytes":0},"agent_version":"","cordoned":false,"cordoned_devices":[],"cordons":{},"devices":[],"plugins":[],"profiles":{},"executors":[],"conditions":[],"session_epoch":0,"refused":"","certificate_serials":[],"trusted_authorities":[],"releases":[],"ban":null,"revision":2}');
CREATE TABLE peaks (
	name VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_peaks PRIMARY KEY (name)
);
INSERT INTO "peaks" VALUES('7f69212ce563e91c6863039fd866684019593b0321b49d08dc31543a13da30ad',1,1,'{"kind":{"model_digest":"sha256:0","backend":"b","backend_version":"1","framework":"cpu","context_length":1,"parallel":null,"layers":null,"parameters":["[\"x\"]"]},"time":"2026-01-02T03:04:05.678901Z","memory_bytes":7,"device_bytes":null}');
CREATE TABLE profiles (
	name VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_profiles PRIMARY KEY (name)
);
INSERT INTO "profiles" VALUES('digest',1,1,'{"backend":"b","versions":[],"memory_model":"fixed","rules":"fixed","aliases":[],"fraction_option":"","fraction_default":null,"formats":[],"architectures":[],"categories":[],"distributed_styles":[],"options":[],"health_path":"","metrics_path":"","api_key":false,"cpu":false,"start_timeout_seconds":600.0,"stop_grace_seconds":30.0,"runs_declared":false,"start_orders":[],"features":[],"closed_options":false,"most_devices":0}');
CREATE TABLE requests (
	request_id VARCHAR NOT NULL, 
	method VARCHAR NOT NULL, 
	digest BLOB NOT NULL, 
	response BLOB NOT NULL, 
	time_microseconds BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	CONSTRAINT pk_requests PRIMARY KEY (request_id)
);
INSERT INTO "requests" VALUES('id-1','Create',X'06EB7D6A69EE19E5FBDF749018D3D2ABFA04BCBD1365DB312EB86DC7169389B8',X'FF616E7377657200',1767323045678901,1,1);
CREATE TABLE token_uses (
	token VARCHAR NOT NULL, 
	node_uid VARCHAR NOT NULL, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	CONSTRAINT pk_token_uses PRIMARY KEY (token, node_uid), 
	CONSTRAINT fk_token_uses_token FOREIGN KEY(token) REFERENCES tokens (id) ON DELETE CASCADE
);
INSERT INTO "token_uses" VALUES('join','uid-b',2,1);
CREATE TABLE tokens (
	id VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	hash BLOB NOT NULL, 
	description TEXT NOT NULL, 
	create_time_microseconds BIGINT NOT NULL, 
	expire_time_microseconds BIGINT, 
	uses_left INTEGER, 
	revision BIGINT NOT NULL, 
	controller_epoch BIGINT NOT NULL, 
	CONSTRAINT pk_tokens PRIMARY KEY (id), 
	CONSTRAINT ck_tokens_uses_left CHECK (uses_left >= 0)
);
INSERT INTO "tokens" VALUES('join','join',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F','for b',1767323045678901,1767323045678901,1,2,1);
CREATE INDEX ix_instances_deployment ON instances (deployment);
CREATE INDEX ix_events_revision ON events (revision);
CREATE INDEX ix_claims_node_device ON claims (node, device);
COMMIT;
