-- Windows are counted when the background pass files them; those after `progress.decoded_to` count by their rows.
UPDATE day_stats SET
    frames  = frames  - (SELECT COUNT(*) FROM window WHERE id > (SELECT decoded_to FROM progress)
                         AND window.device = day_stats.device AND t_arrival / 86400000 = day),
    bytes   = bytes   - (SELECT COALESCE(SUM(frame_len), 0) FROM window WHERE id > (SELECT decoded_to FROM progress)
                         AND window.device = day_stats.device AND t_arrival / 86400000 = day),
    windows = windows - (SELECT COUNT(*) FROM window WHERE id > (SELECT decoded_to FROM progress)
                         AND window.device = day_stats.device AND t_arrival / 86400000 = day);

-- Every count there is; several rows may speak of the same device and day.
CREATE VIEW day_count AS
SELECT device, day, t_last, frames, bytes, windows, readings, duplicates FROM day_stats
UNION ALL
SELECT device, t_arrival / 86400000, MAX(t_arrival), COUNT(*), SUM(frame_len), COUNT(*), 0, 0
FROM window WHERE id > (SELECT decoded_to FROM progress) GROUP BY device, t_arrival / 86400000;
