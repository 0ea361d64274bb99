-- name: append_line
-- One line of the trail; nothing else is ever written to this table.
INSERT INTO audit_log (actor_id, action, subject_id, data)
VALUES (:actor_id, :action, :subject_id, :data);
