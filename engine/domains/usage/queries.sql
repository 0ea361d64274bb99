-- name: insert_calls
-- One row for each model call of a batch.
INSERT INTO model_calls (run_id, fence, step, user_id, role_code, provider, model, input_tokens, output_tokens,
                         estimated, first_token_ms, total_ms)
SELECT * FROM unnest(:run_ids::uuid[], :fences::bigint[], :steps::int[], :user_ids::uuid[], :role_codes::text[],
                     :providers::text[], :models::text[], :input_tokens::int[], :output_tokens::int[],
                     :estimated::boolean[], :first_token_ms::int[], :total_ms::int[]);
